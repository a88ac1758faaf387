"""The verb that puts two studies side by side: compare."""

from __future__ import annotations

from collections.abc import Sequence

import click

from synthtrial.cli.common import console, json_option, print_json


@click.command()
@click.argument("a", metavar="A")
@click.argument("b", metavar="B")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--out", metavar="DIR", help="Write a page and tables there, too.")
@json_option
def compare(a: str, b: str, overrides: Sequence[str], out: str | None, as_json: bool) -> None:
    """Put two studies, or the results of two versions of the code, side by side.

    A and B are each STUDY or STUDY@STORE: what is set otherwise, and what that (or the code) did to
    scores and gains. Studies with other test sets are refused. Overrides hold for both.
    """
    from pathlib import Path

    from synthtrial.report.compare import compare as examine
    from synthtrial.report.compare import open_side
    from synthtrial.report.compare.page import write_comparison
    from synthtrial.report.compare.terminal import show
    from synthtrial.report.compare.texts import plain

    found = examine(open_side(a, "A", overrides), open_side(b, "B", overrides))
    page = write_comparison(found, Path(out)) if out else None
    if as_json:
        print_json(plain(found))
        return
    screen = console()
    show(screen, found)
    if page:
        screen.print(f"page: {page}")


COMMANDS = (compare,)
