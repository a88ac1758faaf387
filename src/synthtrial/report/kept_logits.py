"""Kept logits, and how much each group of test images moves the metrics of a trained classifier.

A part of :mod:`.sources`. Labels count as they do where trials are judged
(:mod:`synthtrial.work.rows`), so the scores here are those of the records.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from synthtrial.classify.influence import influence_of, is_known, rows_of
from synthtrial.classify.metrics import Scores, auc, function_of, judged_by, probabilities
from synthtrial.config import TrainingConfig
from synthtrial.data.labels import LabelPolicy, apply_policy, locate
from synthtrial.data.predictions import KIND, read_predictions
from synthtrial.errors import DamagedArtifactError
from synthtrial.identity import stream
from synthtrial.stats.group_bootstrap import bootstrap_rows, deviations, group_weights
from synthtrial.stats.influence import Grouping, Influence, grouping
from synthtrial.store.artifacts import Store, mend, read_artifact
from synthtrial.store.images import read_labels

RESAMPLES = 200
#: Values (rows x classes x resamples x trials) that resampling may compute, and what a call costs
#: at least, in values: some seconds.
_BUDGET, _CALL = 600_000_000, 20_000


@dataclass(frozen=True, eq=False)
class HeldOut:
    """The test images of a study, as every trial is judged on them.

    Attributes:
        sample_ids: a pyarrow array of N texts, in the order of the kept logits.
        labels_NK: raw labels.
        classes: names of the K columns.
        groups: which images belong together.
        grouped: whether the dataset says so; else each image is by itself.
        multi_label: whether an image may hold several classes.
        weights_BG: resamples of the groups.
        targets: by label policy, made when first asked for.
    """

    sample_ids: Any
    labels_NK: np.ndarray
    classes: tuple[str, ...]
    groups: Grouping
    grouped: bool
    multi_label: bool
    weights_BG: np.ndarray
    targets: dict[LabelPolicy, Scores] = field(default_factory=dict)

    def judged(self, metric: str, policy: LabelPolicy) -> Scores:
        """Return the targets that a metric is computed from, where labels count as ``policy``."""
        if policy not in self.targets:
            self.targets[policy] = apply_policy(self.labels_NK, policy).astype(np.float64)
        return judged_by(metric, self.targets[policy], self.labels_NK == -1)

    def counts(self, metric: str, policy: LabelPolicy, names: tuple[str, ...]) -> tuple[int, int]:
        """Return how many images, and groups of them, a metric of these classes rests on."""
        columns = [self.classes.index(name) for name in names]
        rows_NK = rows_of(metric, self.judged(metric, policy)[:, columns])
        rows_N1 = np.asarray(rows_NK.any(axis=1, keepdims=True))
        return int(rows_N1.sum()), int(self.groups.any(rows_N1).sum())

    def method(self, metric: str) -> str:
        """Say how the test set's error of a metric is computed."""
        unit = "group" if self.grouped else "image"
        if not is_known(metric):
            return f"bootstrap by {unit}, {RESAMPLES} resamples"
        return f"{'DeLong' if function_of(metric) is auc else 'influences'} by {unit}"

    def too_long(self, metric: str, trials: int) -> bool:
        """Whether a metric must be resampled and that would take too long for a report."""
        values = max(self.labels_NK.size, _CALL)
        return not is_known(metric) and values * RESAMPLES * trials > _BUDGET


def read_held_out(store: Store, dataset: str, trial_id: str, seed: int) -> HeldOut:
    """Read the labels and groups of the images that a trial's kept logits are of.

    Args:
        store: where.
        dataset: id of the dataset's artifact.
        trial_id: of any trial whose logits are kept.
        seed: of the study, for resamples.

    Raises:
        DamagedArtifactError: logits or labels are damaged.
        DataError: the dataset lacks one of the images.
    """
    artifact = read_artifact(store, "dataset", dataset)
    table = read_labels(artifact)
    kept = read_predictions(read_artifact(store, KIND, trial_id), "test", table.classes)
    rows = locate(table, kept.sample_ids.to_pylist())
    names = table.group_ids[rows]
    # A sample without a group is its own, and never meets a group of the same name.
    labels = [
        (name is None, id_ if name is None else name)
        for name, id_ in zip(names, table.sample_ids[rows], strict=True)
    ]
    codes = {label: code for code, label in enumerate(dict.fromkeys(labels))}
    groups = grouping([codes[label] for label in labels])
    return HeldOut(
        sample_ids=kept.sample_ids,
        labels_NK=table.labels_NK[rows],
        classes=table.classes,
        groups=groups,
        grouped=any(name is not None for name in names),
        multi_label=bool(artifact.info["multi_label"]),
        weights_BG=group_weights(groups, RESAMPLES, stream(seed, "resampled test sets")),
    )


def policy_of(payload: Mapping[str, Any]) -> LabelPolicy:
    """Return what an uncertain label counts as in a trial, from its task's payload."""
    return TrainingConfig(**payload["training"]).label_policy


def read_scores(store: Store, trial_id: str, held_out: HeldOut) -> Scores:
    """Return the scores of a trial's classifier, in the order of the test images.

    Raises:
        DamagedArtifactError: its logits are damaged, or of other images.
    """
    artifact = read_artifact(store, KIND, trial_id)
    kept = read_predictions(artifact, "test", held_out.classes)
    if not kept.sample_ids.equals(held_out.sample_ids):
        raise DamagedArtifactError(
            f"{artifact.path} has logits of other test images than the study's other trials. "
            + mend(artifact.path)
        )
    return probabilities(kept.logits_NK, multi_label=held_out.multi_label)


def influence_on(metric: str, scores_NK: Scores, policy: LabelPolicy, test: HeldOut) -> Influence:
    """Return a metric and how much each group of test images moves it.

    Where that is not known, deviations over resamples stand for the influences; they are paired
    between trials, and add up in the same way.
    """
    targets_NK = test.judged(metric, policy)
    many = test.multi_label
    if is_known(metric):
        return influence_of(metric, scores_NK, targets_NK, test.groups, multi_label=many)
    compute = function_of(metric)

    def of_rows(rows_M: np.ndarray) -> np.ndarray:
        return np.asarray(compute(scores_NK[rows_M], targets_NK[rows_M], multi_label=many))

    whole = np.atleast_1d(np.asarray(of_rows(np.arange(len(scores_NK))), dtype=np.float64))
    return Influence(whole, deviations(bootstrap_rows(of_rows, test.groups, test.weights_BG)))
