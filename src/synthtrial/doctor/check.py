"""What a check has found, and how it is shown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from rich.console import Console

State = Literal["ok", "warning", "broken"]
_STYLES = {"ok": "green", "warning": "yellow", "broken": "bold red"}


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes:
        state: ``broken`` keeps the study from running; ``warning`` may, or costs time.
        name: what it is about, in a word or two.
        found: what is the case.
        mend: what to do about it; empty if all is well.
    """

    state: State
    name: str
    found: str
    mend: str = ""


def ok(name: str, found: str) -> Check:
    """Return a check that found nothing wrong."""
    return Check("ok", name, found)


def warning(name: str, found: str, mend: str) -> Check:
    """Return a check whose finding may cost time or do harm."""
    return Check("warning", name, found, mend)


def broken(name: str, found: str, mend: str) -> Check:
    """Return a check whose finding keeps the study from running."""
    return Check("broken", name, found, mend)


def show(console: Console, checks: Iterable[Check]) -> bool:
    """Print each check as soon as it is there; say whether nothing is broken."""
    counts: Counter[State] = Counter()
    for check in checks:
        counts[check.state] += 1
        console.print(f"{check.state:<8}", style=_STYLES[check.state], end="")
        console.print(f" {check.name:<15} {check.found}")
        if check.mend:
            console.print(f"{'':8} {'':15} -> {check.mend}")
    if counts["broken"]:
        console.print(
            f"{counts['broken']} broken, {counts['warning']} doubtful: mend what is broken, then "
            "run this again"
        )
    else:
        doubtful = f"nothing is broken, {counts['warning']} doubtful"
        console.print(doubtful if counts["warning"] else "nothing stands in the way")
    return not counts["broken"]
