"""The verb about what others printed: audit."""

from __future__ import annotations

from collections.abc import Sequence

import click

from synthtrial.cli.common import console, json_option, print_json


@click.command()
@click.argument("table")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@json_option
def audit(table: str, overrides: Sequence[str], as_json: bool) -> None:
    """Check a published table: sums, counts, standard errors, and claims against its numbers.

    TABLE is a YAML file or the name of a shipped table (chexpert_paper). Every number can be
    overridden behind it: synthtrial audit chexpert_paper correlation=0 test.rows=11170
    """
    from synthtrial.audit import audit as examine
    from synthtrial.audit.views import audit_json, show_audit
    from synthtrial.published import load_published

    found = examine(load_published(table, overrides))
    if as_json:
        print_json(audit_json(found))
    else:
        show_audit(console(), found)


COMMANDS = (audit,)
