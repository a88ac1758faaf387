"""The columns of the frames that a report is made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

TRIAL_COLUMNS = {
    "trial_id": "str",
    "stage": "str",  # grid | replicate
    "arm": "str",
    "regimen": "float64",
    "configuration": "str",  # canonical JSON of the grid point, "" while not chosen
    "draw": "int64",
    "replicate": "int64",
    "status": "str",  # waiting | done | diverged | stopped (early) | failed | blocked
    "overall": "float64",  # the overall metric on test; NaN where there is none
    "validation": "float64",  # the selecting metric on validation, at the kept epoch
    "epochs": "float64",  # that it was trained
    "planned_epochs": "float64",  # that it is trained if nothing ends it; NaN while not chosen
    "best_epoch": "float64",
    "steps": "float64",
    "n_real": "float64",
    "n_added": "float64",
    "seconds": "float64",  # wall time of the try that counts
    "spent_seconds": "float64",  # of every try that left a record, this one included
    "threads": "float64",
    "device": "str",  # such as cpu or cuda, "" where not recorded
    "code_digest": "str",
    "stamps": "str",  # comma-separated
    "message": "str",
}
COUNT_COLUMNS = {
    "draw": "int64",
    "role": "str",
    "class_name": "str",
    "images": "int64",  # that certainly hold the class
    "uncertain": "float64",  # that may hold it; NaN where not counted
}
SYNTHETIC_COLUMNS = {
    "arms": "str",  # comma-separated: arms that share this allocation
    "regimen": "float64",
    "draw": "int64",
    "class_name": "str",
    "chosen": "bool",  # a class that is to be raised
    "real": "int64",  # images of the regimen that hold the class
    "intended": "int64",  # added for the sake of this class
    "added": "int64",  # added images that hold the class
    "expected": "float64",  # prevalence by expectation
    "realised": "float64",  # prevalence in the images drawn
}
CURVE_COLUMNS = {
    "trial_id": "str",
    "epoch": "int64",
    "train_loss": "float64",  # real rows only
    "validation_loss": "float64",
}
#: A class's figures in one draw; meanings are those of :class:`synthesis.quality.ClassQuality`.
FIGURES = (
    "recognisability",
    "recognisability_heldout",
    "recognisability_relative",
    "kernel_distance",
    "kernel_distance_real",
    "frechet_distance",
    "precision",
    "recall",
    "density",
    "coverage",
    "coverage_made",
    "coverage_real",
    "coverage_relative",
    "diversity",
    "memorised",
    "memorised_expected",
    "distance_ratio",
)
QUALITY_COLUMNS = {
    "arms": "str",  # comma-separated: arms that add these very images
    "regimen": "float64",
    "draw": "int64",
    "class_name": "str",
    "features": "str",  # what computed the features that distances are measured in
    "n_made": "int64",
    "n_heldout": "int64",
    "n_training": "int64",
    **dict.fromkeys(FIGURES, "float64"),  # NaN where undefined
    "undefined": "str",  # JSON: of each figure that is NaN, the reason
}
SHORTFALL_COLUMNS = {
    "arms": "str",
    "regimen": "float64",
    "draw": "int64",
    "class_name": "str",
    "threshold": "str",  # such as min_coverage
    "value": "float64",  # NaN where the figure is undefined
    "text": "str",  # a sentence
}
ACCEPTANCE_COLUMNS = {
    "arms": "str",  # the arm with the filter and those that take a dose of its images
    "regimen": "float64",
    "draw": "int64",
    "class_name": "str",
    "candidates": "int64",
    "accepted": "int64",  # of the candidates
    "wanted": "int64",
    "kept": "int64",
    "filled": "int64",  # of the kept ones, those that were not accepted
}
GENERATOR_COLUMNS = {
    "generator_id": "str",
    "place": "str",  # what it was fitted on and, where settings differ, by which
    "regimen": "float64",  # NaN where one generator serves all regimens of a draw
    "draw": "int64",
    "images": "int64",  # that it was fitted on
    "steps": "int64",
    "skipped": "int64",  # steps with a loss that was not finite
    "images_seen": "int64",
    "seconds": "float64",  # wall time, of all tries together
    "processes": "int64",
}
LOSS_COLUMNS = {
    "generator_id": "str",
    "step": "int64",
    "generator_loss": "float64",  # means over the steps since the row before
    "discriminator_loss": "float64",
}
#: What cells need beside trials: a row for each task and cell that needs it.
WORK_COLUMNS = {
    "task_id": "str",
    "kind": "str",  # reference | train_gan | synthesize | filter | assess
    "arm": "str",
    "regimen": "float64",
    "draw": "int64",
    "state": "str",  # done | failed | waiting (or never started)
    "seconds": "float64",  # wall time of every try that left a word of it; NaN where none did
    "processes": "float64",  # that shared it; NaN where not recorded
    "threads": "float64",  # of each of them
    "device": "str",
}
CHOSEN_COLUMNS = {
    "arm": "str",
    "regimen": "float64",
    "replicate": "int64",
    "configuration": "str",
    "target": "str",  # class that it was chosen for, "" where for all
}

#: What the test set alone makes unsure, of a mean or of a difference of means over replicates.
TEST_ERROR_COLUMNS = {
    "regimen": "float64",
    "arm": "str",
    "baseline": "str",  # what it is compared with; "" for the arm's own mean
    "scope": "str",  # overall | minority | class
    "class_name": "str",  # "" unless scope is class
    "metric": "str",
    "standard_error": "float64",  # over other test sets, of just these trained networks
    "shared_error": "float64",  # the part of it that more replicates do not average away
    "df": "float64",
    "groups": "int64",  # that the metric rests on here
    "rows": "int64",  # images, likewise
    "n": "int64",  # units that are averaged
    "unit": "str",  # draw | replicate
    "method": "str",
}


def empty(columns: Mapping[str, str]) -> pd.DataFrame:
    """Return a frame of these columns and types without rows."""
    return pd.DataFrame({name: pd.Series(dtype=dtype) for name, dtype in columns.items()})


def filled(columns: Mapping[str, str], rows: Sequence[Sequence[Any]]) -> pd.DataFrame:
    """Return a frame of these columns and types with these rows."""
    if not rows:
        return empty(columns)
    return pd.DataFrame(rows, columns=list(columns)).astype(dict(columns))
