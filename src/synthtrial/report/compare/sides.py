"""What is compared: a study and the store that has its results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from synthtrial.errors import ConfigError, StoreError
from synthtrial.holdings import locate, studies_in
from synthtrial.plan import Plan, build
from synthtrial.report.facts import Facts, count_text, listing
from synthtrial.report.sources import gather
from synthtrial.store.artifacts import Store
from synthtrial.store.records import read_records
from synthtrial.study import Study

_MEASURED = ("validation", "test", "made", "steps", "best_epoch", "n_real", "n_added")


@dataclass(frozen=True, eq=False)
class Side:
    """One of the two.

    Attributes:
        name: ``A`` or ``B``.
        given: what the user typed.
        study: taken to the replicates that were asked for in the store.
        store: that has its results.
        plan: of the study in that store.
    """

    name: str
    given: str
    study: Study
    store: Store
    plan: Plan

    @property
    def title(self) -> str:
        """The study and where it is."""
        return f"{self.study.name} in {self.store.root}"

    @cached_property
    def facts(self) -> Facts:
        """What a report would be made from."""
        return gather(self.study, self.store, self.plan)

    @cached_property
    def code_digests(self) -> tuple[str, ...]:
        """Versions of the code that made its trials."""
        return tuple(sorted(set(self.facts.trials.code_digest) - {""}))


def open_side(given: str, name: str, overrides: Sequence[str] = ()) -> Side:
    """Find a study with results.

    Args:
        given: as in :func:`synthtrial.holdings.locate`.
        name: ``A`` or ``B``.
        overrides: of settings.

    Raises:
        ConfigError: no such study.
        StoreError: no such store, or no results of the study in it.
    """
    study, store = locate(given, overrides)
    side = Side(name, given, study, store, build(study, store))
    trials = [trial.trial_id for trial in side.plan.trials if trial.stage == "replicate"]
    if not any(id_ in side.plan.done for id_ in trials):
        raise StoreError(f"{name}: {_nothing(side, overrides)}")
    return side


def _nothing(side: Side, overrides: Sequence[str]) -> str:
    """Say why a side has no results."""
    mine = pc.equal(read_records(side.store)["study"], side.study.name)
    records = int(pc.sum(pc.fill_null(mine, fill_value=False)).as_py() or 0)
    if not records:
        kept = sorted({study.name for _, study in studies_in(side.store)})
        known = f"; studies that ran there: {listing(kept)}" if kept else ""
        return f"{side.store.root} has no results of {side.study.name}{known}"
    asked = f", {listing(list(overrides))} among them," if overrides else ""
    return (
        f"{side.store.root} has {count_text(records, 'record')} of {side.study.name}, and none is "
        f"of a replicate that these settings{asked} would run with this code: the study is not so "
        "far yet, or ran with other settings or with other versions of its components. Give the "
        f"settings it ran with ('{side.study.name}@{side.store.root}' takes the last ones), or "
        "compare with the code that ran it"
    )


def check_distinct(a: Side, b: Side) -> None:
    """Refuse to compare results with themselves.

    Raises:
        ConfigError: both are the same study in the same store.
    """
    if a.study.digest != b.study.digest or not a.store.root.samefile(b.store.root):
        return
    text = f"A and B are the same: {a.title}"
    if len(a.code_digests) > 1:
        raise ConfigError(
            f"{text}. Its trials were run by {len(a.code_digests)} versions of the code "
            f"({listing(a.code_digests)}), but each trial is kept once, so a store cannot hold the "
            "results of two versions. Run the study anew with each version in a store of its own, "
            f"store.path=OLD and store.path=NEW, and then `synthtrial compare "
            f"{a.study.name}@OLD {a.study.name}@NEW`"
        )
    raise ConfigError(
        f"{text}. Name two studies, or two stores: `synthtrial compare {a.study.name}@OLD "
        f"{a.study.name}@NEW`"
    )


def measured(side: Side) -> dict[str, dict[str, Any]]:
    """Return what each finished trial of a side has measured, by its id."""
    ids = [trial.trial_id for trial in side.plan.trials if trial.trial_id in side.plan.done]
    table = read_records(side.store).select(["trial_id", *_MEASURED])
    mine = table.filter(pc.is_in(table["trial_id"], pa.array(ids, pa.string())))
    rows = mine.to_pylist()
    return {row.pop("trial_id"): row for row in rows}
