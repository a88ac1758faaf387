"""What was set otherwise, and what made the results: code, data, components."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from synthtrial.errors import SynthtrialError
from synthtrial.graph import cells, trial_task
from synthtrial.identity import canonical_json, non_default
from synthtrial.registry import find
from synthtrial.report.compare.sides import Side
from synthtrial.report.facts import listing
from synthtrial.store.artifacts import read_artifact
from synthtrial.study import Study

ABSENT = "(absent)"
#: What a setting touches: what trials that both have are made of; which trials there are; neither.
IDS, TRIALS, NEITHER, UNKNOWN = "trial ids", "which trials", "neither", "not told alone"
#: Where things are, and how they are computed: never of any effect on an id.
_PLACES = ("store.", "engine.", "name", "description")
_OPEN = ("dataset", "generator", "classifier", "grid")


@dataclass(frozen=True)
class Difference:
    """One setting that differs.

    Attributes:
        key: as an override names it.
        a, b: its values as JSON, or :data:`ABSENT`.
        touches: one of :data:`IDS`, :data:`TRIALS`, :data:`NEITHER`, and :data:`UNKNOWN` where A
            cannot be set so without other changes.
    """

    key: str
    a: str
    b: str
    touches: str


def differences(a: Study, b: Study) -> tuple[Difference, ...]:
    """Return every setting that differs, in the order of the settings.

    What one touches is found by trying it: A with this one value of B.
    """
    flat = [_flat_settings(study, other) for study, other in ((a, b), (b, a))]
    # Of a plug-in, ids keep what it says that they should: not where its files are, for one.
    same = tuple(
        f"{kind}."
        for kind, first, second in (
            ("dataset", a.dataset, b.dataset),
            ("generator", a.generator, b.generator),
            ("classifier", a.classifier, b.classifier),
        )
        if first is not None and second is not None and first.identity == second.identity
    )
    found = []
    for key in dict.fromkeys([*flat[0], *flat[1]]):
        first, second = (side.get(key, ABSENT) for side in flat)
        if first != second:
            touches = NEITHER if key.startswith(same) else _touches(a, key, second)
            found.append(Difference(key, _text(first), _text(second), touches))
    return tuple(found)


def _text(value: Any) -> str:
    return ABSENT if value is ABSENT else canonical_json(value)


def origins(a: Side, b: Side) -> tuple[tuple[str, str, str], ...]:
    """Return what made the results of both: label, value in A, value in B."""
    sides = (a, b)
    rows: list[tuple[str, ...]] = [
        ("study", *(side.study.name for side in sides)),
        ("store", *(str(side.store.root) for side in sides)),
        ("code", *(listing(side.code_digests) or "unknown" for side in sides)),
    ]
    datasets = [_datasets(side) for side in sides]
    rows.append(("dataset artifact", *datasets[0][:1], *datasets[1][:1]))
    rows.append(("dataset content", *datasets[0][1:], *datasets[1][1:]))
    versions = [_versions(side.study) for side in sides]
    labels = dict.fromkeys([*versions[0], *versions[1]])
    rows += [(label, *(found.get(label, ABSENT) for found in versions)) for label in labels]
    return tuple((label, first, second) for label, first, second in rows)


def _datasets(side: Side) -> tuple[str, str]:
    for task in side.plan.tasks.values():
        if task.kind == "prepare" and task.id in side.plan.done:
            return task.id, read_artifact(side.store, "dataset", task.id).origin_digest
    return ABSENT, ABSENT


def _versions(study: Study) -> dict[str, str]:
    """Return the version of each component in use, by what it is."""
    found = {
        f"{kind} {chosen.identity['name']}": str(chosen.identity["version"])
        for kind, chosen in (
            ("dataset", study.dataset),
            ("generator", study.generator),
            ("classifier", study.classifier),
            *(("augmentation", item) for arm in study.arms.values() for item in arm.augment),
        )
        if chosen is not None
    }
    return found | {f"metric {n}": str(find("metric", n).version) for n in study.settings.metrics}


def _flat_settings(study: Study, other: Study) -> dict[str, Any]:
    """Return the settings by dotted key; an arm that the other lacks is one setting."""
    plain = dataclasses.asdict(study.settings)
    flat: dict[str, Any] = {}
    for section, value in plain.items():
        if section == "arms":
            for name, arm in value.items():
                if name in other.arms:
                    flat |= _flat(arm, f"arms.{name}.")
                else:
                    flat[f"arms.{name}"] = non_default(study.settings.arms[name])
        else:
            flat |= _flat({section: value})
    return flat


def _flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, item in value.items():
        nested = isinstance(item, dict) and item
        found |= _flat(item, f"{prefix}{key}.") if nested else {f"{prefix}{key}": item}
    return found


def _touches(study: Study, key: str, value: Any) -> str:
    if key.startswith(_PLACES):
        return NEITHER
    section, _, option = key.partition(".")
    if section == "arms" and option.count(".") == 0:  # an arm that only one has
        return TRIALS
    override = f"{key}={canonical_json(None if value is ABSENT else value)}"
    if section in _OPEN:  # keys that the user names: one may be absent
        options = dict(getattr(study.settings, section) or {})
        if value is ABSENT:
            options.pop(option, None)
        else:
            options[option] = value
        override = f"{section}={canonical_json(options)}"
    try:
        changed = study.replace([override])
        before, after = _ids(study), _ids(changed)
    except (SynthtrialError, TypeError, ValueError):
        return UNKNOWN
    if any(before[cell] != after[cell] for cell in before.keys() & after.keys()):
        return IDS
    return TRIALS if _which(study) != _which(changed) else NEITHER


def _ids(study: Study) -> dict[tuple[str, float], str]:
    """Return the id of one trial of each cell."""
    point = study.configurations[0]
    return {
        (cell.arm, cell.regimen): trial_task(study, cell, "replicate", 0, point).id
        for cell in cells(study)
    }


def _which(study: Study) -> Any:
    """Return everything that says which trials there are, the rule of choice included."""
    protocol = study.settings.protocol
    chosen_by = study.minority if protocol.select_over != "macro_all" else []
    places = [[cell.arm, cell.regimen] for cell in cells(study)]
    points = [dict(point) for point in study.configurations]
    return canonical_json([places, points, study.draws, dataclasses.asdict(protocol), chosen_by])
