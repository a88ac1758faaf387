"""What a study asks: the targets that are judged, the declared one first, and their names."""

from __future__ import annotations

from collections.abc import Sequence

from synthtrial.data.regimens import regimen_label
from synthtrial.report.facts import Design, listing
from synthtrial.report.verdict import readable


def targets_of(design: Design) -> list[tuple[str, str]]:
    """Return scope and class of what is judged: what the primary question asks, or the summary."""
    several = len(design.minority) > 1
    found = [("minority", "")] if several and not design.overall_is_minority else []
    if not (design.overall_is_minority and len(design.minority) == 1):
        found.append(("overall", ""))
    found += [("class", name) for name in design.minority]
    if design.primary is None:
        return found
    asked = (design.primary.scope, design.primary.class_name)
    same = {asked}  # targets that go by two names
    if asked[0] == "minority" and not several:
        same |= {("class", name) for name in design.minority}
    if design.overall_is_minority and asked[0] in ("minority", "overall"):
        same |= {("minority", ""), ("overall", "")}
    return [asked, *(target for target in found if target not in same)]


def target_name(design: Design, scope: str, class_name: str) -> str:
    """Name what is judged: ``recall on 8``, ``accuracy over all classes``."""
    if scope == "class":
        return f"{readable(design.class_metric)} on {class_name}"
    if scope == "minority":
        return f"{readable(design.class_metric)} on {listing(list(design.minority))}"
    return f"{readable(design.overall_metric)} over {design.overall_scope}"


def training_text(regimens: Sequence[float]) -> str:
    """Name training sets: ``10 % and 50 % of the training images``, ``2,050 images``."""
    text = listing([regimen_label(regimen) for regimen in regimens])
    return f"{text} of the training images" if max(regimens) <= 1 else text
