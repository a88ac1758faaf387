"""What a study asks: the targets that are judged, the declared one first, and their names."""

from __future__ import annotations

from collections.abc import Sequence

from synthtrial.data.regimens import regimen_label
from synthtrial.report.facts import Design, listing
from synthtrial.report.same import other_names


def targets_of(design: Design) -> list[tuple[str, str]]:
    """Return scope and class of what is judged: what the primary question asks, or the summary."""
    found = [("minority", "")] if design.minority else []
    found += [("overall", ""), *(("class", name) for name in design.minority)]
    others = other_names(design)  # of the same scores, which are told once
    rest = (target for target in found if target not in others and target != design.judged)
    return [design.judged, *rest]


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


def readable(metric: str) -> str:
    """Name a metric for people."""
    return {"auc": "AUC"}.get(metric, metric.replace("_", " "))
