"""Tasks that judge made images: the filter, and how good they are."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from synthtrial.config import QualityConfig
from synthtrial.data.labels import class_index
from synthtrial.errors import DataError
from synthtrial.store.artifacts import draft
from synthtrial.study import Study
from synthtrial.synthesis.balance import read_allocation
from synthtrial.synthesis.filtering import accept, keep, summary, write_kept
from synthtrial.tasks import Task
from synthtrial.upstream import assess_task
from synthtrial.work.context import Context
from synthtrial.work.fitting import fitted_rows
from synthtrial.work.images import lineage_of_images, made_images

if TYPE_CHECKING:
    from synthtrial.synthesis.features import Extractor
    from synthtrial.synthesis.quality import ClassQuality, Sample
    from synthtrial.work.monitor import Recognise

#: Images of a class that quality is measured on, at most: the cost grows with their square.
MEASURED_IMAGES = 2000


def filter_images(task: Task, context: Context) -> None:
    """List the images that the reference classifier accepts, as many of each class as wanted.

    Raises:
        DataError: it accepts too few.
    """
    started = time.perf_counter()
    study, payload = context.study(task.study), task.payload
    pool = context.artifact("synthetic", payload["synthetic"])
    judge = context.artifact("classifier", payload["classifier"])
    wanted = read_allocation(context.artifact("allocation", payload["allocation"])).counts_of()
    arrays = context.images("synthetic", pool.id, study)
    labels = arrays.labels
    assert labels.intended is not None
    columns = {name: class_index(labels.classes, name) for name in wanted}
    accepted_M = accept(
        _logits(context, judge.id, arrays.images_NCHW),
        np.array([columns[name] for name in labels.intended], dtype=np.int64),
        multi_label=_is_multi_label(context, judge.inputs["dataset"]),
        threshold=payload["threshold"],
    )
    rows, found = keep(labels.intended, accepted_M, wanted, payload["on_shortfall"])
    inputs = {"synthetic": pool.id, "classifier": judge.id, "allocation": payload["allocation"]}
    lineage = (*pool.lineage, *judge.lineage)
    with draft(context.store, "filtered", task.id, inputs=inputs, lineage=lineage) as made:
        write_kept(made.path, labels.sample_ids, labels.intended, rows)
        made.info.update(context.effort(started), images=len(rows), classes=summary(found))


def recogniser(context: Context, classifier: str) -> Recognise:
    """Return a judge of samples: the share that a reference classifier recognises, by class."""

    def recognise(images_NCHW: np.ndarray, names: Sequence[str]) -> Mapping[str, float]:
        artifact = context.artifact("classifier", classifier)
        dataset = context.artifact("dataset", artifact.inputs["dataset"])
        classes = tuple(sorted(dataset.info["classes"]))
        seen_M = accept(
            _logits(context, classifier, images_NCHW),
            np.array([class_index(classes, name) for name in names], dtype=np.int64),
            multi_label=dataset.info["multi_label"],
            threshold=0.5,
        )
        named = np.array(names, dtype=object)
        return {name: float(seen_M[named == name].mean()) for name in dict.fromkeys(names)}

    return recognise


def assess(task: Task, context: Context) -> None:
    """Measure the made images of an arm against real validation images, class by class."""
    from synthtrial.synthesis.quality import Yardstick
    from synthtrial.synthesis.quality import assess as measure

    started = time.perf_counter()
    study, payload = context.study(task.study), task.payload
    dataset, split = payload["dataset"], payload["split"]
    multi_label = _is_multi_label(context, dataset)
    real = context.images("dataset", dataset, study)
    classes = real.labels.classes
    images = made_images(payload["images"], context, study)
    held_out = context.held_out("validation", dataset, split, payload["regimen"], study)
    if payload["fit_on"] == "external":  # nobody knows its training images; these are the trial's
        training = context.rows(dataset, split, payload["regimen"], study)
    else:
        training = fitted_rows(payload, context, study)
    extractor, name = _extractor(context, payload)
    judge: str = payload["classifier"]

    names = payload["classes"] or list(classes)
    columns = [class_index(classes, name) for name in names]

    def sample(images_NCHW: np.ndarray, labels_NK: np.ndarray, rows: np.ndarray) -> _Judged:
        rows = _first_of_each(rows, labels_NK[:, columns] == 1)
        return _judged(context, extractor, judge, images_NCHW[rows]), labels_NK[rows] == 1

    found = measure(
        sample(images.arrays.images_NCHW, images.arrays.labels.labels_NK, images.rows),
        sample(real.images_NCHW, real.labels.labels_NK, held_out),
        sample(real.images_NCHW, real.labels.labels_NK, training),
        classes=classes,
        yardstick=Yardstick(
            name, f"reference classifier {judge}", multi_label, payload["neighbours"]
        ),
        of=names,
    )
    inputs = {"dataset": dataset, "split": split, "classifier": judge}
    inputs["synthetic"] = payload["images"]["synthetic"]
    lineage = lineage_of_images(payload["images"], context)
    with draft(context.store, "quality", task.id, inputs=inputs, lineage=lineage) as made:
        made.info.update(
            context.effort(started),
            features=name,
            regimen=payload["regimen"],
            classes={name: quality.as_dict() for name, quality in found.items()},
        )


def check_quality(task: Task, context: Context, study: Study) -> None:
    """Refuse a trial whose made images fall short of the study's thresholds, where it says so.

    Raises:
        DataError: they do; says which and by how much.
    """
    if study.settings.quality.on_shortfall != "refuse":
        return
    assert task.trial is not None
    arm = study.arms[task.trial.arm]
    measured = assess_task(study, arm, task.trial.regimen, task.trial.draw)
    problems = quality_problems(
        context.artifact("quality", measured.id).info, study.settings.quality
    )
    if problems:
        raise DataError(
            f"the made images of arm '{arm.name}' are not good enough: {'; '.join(problems)}. "
            "Train the generator better, lower the thresholds in the section quality, or set "
            "quality.on_shortfall=warn to use the images all the same"
        )


def quality_problems(info: Mapping[str, Any], config: QualityConfig) -> list[str]:
    """Say which thresholds the classes in a quality artifact's ``info`` fall short of."""
    from synthtrial.synthesis.quality import ClassQuality, QualityThresholds, shortfalls

    thresholds = QualityThresholds(
        config.min_recognisability,
        config.min_coverage,
        config.max_kernel_distance,
        config.max_memorised,
    )
    qualities: list[ClassQuality] = [ClassQuality(**item) for item in info["classes"].values()]
    return [text for quality in qualities for text in shortfalls(quality, thresholds)]


_Judged = tuple["Sample", np.ndarray]


def _judged(context: Context, extractor: Extractor, judge: str, images_NCHW: np.ndarray) -> Sample:
    from synthtrial.synthesis.features import extract
    from synthtrial.synthesis.quality import Sample

    features_NF, logits_NK = extract(extractor, images_NCHW)
    if logits_NK is None:  # features of a network that knows nothing of the study's classes
        logits_NK = _logits(context, judge, images_NCHW)
    return Sample(features_NF, logits_NK)


def _extractor(context: Context, payload: Mapping[str, Any]) -> tuple[Extractor, str]:
    from synthtrial.synthesis.features import efficientnet_lite0

    if payload["features"] == "reference":
        return _reference(context, payload["classifier"]), "reference classifier, last layer"
    extractor = efficientnet_lite0()
    return extractor.to(context.device), extractor.name


@lru_cache(maxsize=4)
def _reference(context: Context, classifier: str) -> Extractor:
    from synthtrial.classify.saving import read_classifier
    from synthtrial.synthesis.features import penultimate

    model = read_classifier(context.artifact("classifier", classifier), context.device)
    return penultimate(model, f"reference classifier {classifier}")


def _logits(context: Context, classifier: str, images_NCHW: np.ndarray) -> np.ndarray:
    from synthtrial.synthesis.features import extract

    if not len(images_NCHW):  # a target that was met already asked for none
        artifact = context.artifact("classifier", classifier)
        classes = context.artifact("dataset", artifact.inputs["dataset"]).info["classes"]
        return np.zeros((0, len(classes)), dtype=np.float32)
    _, logits_NK = extract(_reference(context, classifier), images_NCHW)
    assert logits_NK is not None
    return logits_NK


def _first_of_each(rows: np.ndarray, positive_NC: np.ndarray) -> np.ndarray:
    """Return the rows that are among the first so many of a class, in their order."""
    mine_RC = positive_NC[rows]
    first_RC = mine_RC & (np.cumsum(mine_RC, axis=0) <= MEASURED_IMAGES)
    return np.asarray(rows[first_RC.any(axis=1)])


def _is_multi_label(context: Context, dataset: str) -> bool:
    return bool(context.artifact("dataset", dataset).info["multi_label"])
