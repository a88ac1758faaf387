"""Where added images come from, and whether a trial may use them.

Images descend from the real rows that their generator saw. If those rows share a group with what
the trial is judged on, its scores are worthless: it is refused, or stamped where the study allows
it. Lineage is looked up in the split artifacts that the images cite, never taken on trust.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import lru_cache

import numpy as np

from synthtrial.data.splits import (
    SplitTable,
    crossing_rows,
    groups_of,
    read_split,
    select,
)
from synthtrial.errors import LeakageError
from synthtrial.store.artifacts import Descent, Store, read_artifact

LEAKY = "LEAKY"
PRIVILEGED = "PRIVILEGED"
GROUPS_UNKNOWN = "GROUPS UNKNOWN"
#: Cited in place of a split's id by images of which nobody knows what they were made from.
UNKNOWN_SPLIT = "unknown"


def check_lineage(
    store: Store,
    descents: Sequence[Descent],
    split: SplitTable,
    *,
    training_ids: Collection[str],
    groups_known: bool,
    allow: bool,
    source: str = "the added images",
) -> tuple[str, ...]:
    """Compare what images descend from with what a trial is trained and judged on.

    Args:
        store: holds the splits that the descents cite.
        descents: of all images that the trial adds; empty where it adds none.
        split: of the trial.
        training_ids: ids of the real samples that the trial's classifier is trained on.
        groups_known: whether the dataset names its groups.
        allow: run a leaking trial and stamp it.
        source: names the images in errors, such as ``"synthetic 3f0c..."``.

    A classifier's own images must not share a group with what it is judged on either, which only a
    split of single images can bring about.

    Returns:
        Stamps for every table that the trial enters: ``LEAKY``, ``PRIVILEGED`` (the images descend
        from rows that the classifier was denied), ``GROUPS UNKNOWN``.

    Raises:
        LeakageError: the images descend from validation or test groups, or from nobody knows what.
        StoreError: a split they cite is not in the store.
    """
    held_out = split.rows(("validation", "unused", "test"))
    judged = groups_of(split, held_out)
    judged_ids = set(split.sample_ids[held_out])
    allowed_ids = frozenset(training_ids)
    stamps = set() if groups_known else {GROUPS_UNKNOWN}
    if groups_known and crossing_rows(split).any():
        own = np.flatnonzero(np.isin(split.sample_ids, list(allowed_ids)))
        shared = groups_of(split, own) & judged
        if shared and not allow:
            raise LeakageError(
                f"group '{min(shared)[1]}' (and {len(shared) - 1:,} more) is trained on and judged "
                "on: the split deals single images. Set split.by=group, or allow_leakage=true to "
                "run it and stamp it LEAKY"
            )
        stamps |= {LEAKY} if shared else set()
    for descent in descents:
        if descent.split == UNKNOWN_SPLIT:
            if not allow:
                raise LeakageError(
                    f"nobody knows what {source} was made from: it may descend from the test set. "
                    "State its lineage, or set allow_leakage=true to run it and stamp it LEAKY"
                )
            stamps |= {LEAKY, PRIVILEGED}
            continue
        seen = _read_split(store, descent.split)
        rows = _descent_rows(seen, descent)
        seen_ids = set(seen.sample_ids[rows])
        shared = (groups_of(seen, rows) & judged) | {
            ("sample", name) for name in seen_ids & judged_ids
        }
        if shared and not allow:
            kind, name = min(shared)
            raise LeakageError(
                f"{source} descends from {kind} '{name}' (and {len(shared) - 1:,} more) of split "
                f"{descent.split}, which this trial is validated or tested on. Use a generator "
                "fitted on this trial's own draw, or set allow_leakage=true to run it and stamp "
                "it LEAKY"
            )
        if shared:
            stamps.add(LEAKY)
        if not seen_ids <= allowed_ids:
            stamps.add(PRIVILEGED)
    return tuple(sorted(stamps))


def _descent_rows(split: SplitTable, descent: Descent) -> np.ndarray:
    """Return the rows of a descent; its regimen thins ``train`` and ``validation`` only."""
    parts = [
        select(split, role=role, regimen=descent.regimen if role in _RANKED else None)
        for role in descent.roles
    ]
    return np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64)


_RANKED = ("train", "validation")


@lru_cache(maxsize=64)
def _read_split(store: Store, id_: str) -> SplitTable:
    return read_split(read_artifact(store, "split", id_))
