"""Where a trained classifier looks: class activation maps of real and of made images, and figures.

Likeness of maps says little by itself: maps of any two frontal radiographs are alike. So real
against made images stands beside real against real and made against made. Real images are those of
the test set that certainly hold a class; made ones are those that the classifier was trained on.
"""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from synthtrial.classify.cam import class_activation_maps, concentration, mean_similarity
from synthtrial.classify.rows import normalise
from synthtrial.classify.saving import read_classifier
from synthtrial.data.labels import class_index
from synthtrial.errors import DataError, TrainingError
from synthtrial.identity import stream
from synthtrial.store.artifacts import draft, exists
from synthtrial.store.files import write_file
from synthtrial.study import Study
from synthtrial.tasks import Task, Trial
from synthtrial.work.context import Context
from synthtrial.work.images import lineage_of_images, made_images
from synthtrial.work.pictures import write_sheet
from synthtrial.work.trial import keep_weights, train

TILES = 6  # images of each kind that are shown
CAMS_FILE = "cams.json"
_BATCH = 16
_OPACITY = 0.5  # of the map over the image
_COLOURS = "inferno"


def draw_maps(task: Task, context: Context) -> None:
    """Commit maps of each class of interest, as pictures and in figures.

    ``cams.json`` has for each class the mean correlation of maps ``real_made``, ``real_real`` and
    ``made_made`` with intervals, the share of the positive activation in the highest tenth of the
    positions, and the pictures: a row of images above a row of the same with their maps.

    Raises:
        TrainingError: the classifier is none whose maps are exact.
    """
    study, payload = context.study(task.study), task.payload
    model = _classifier(task, context, study)
    dataset = context.images("dataset", payload["dataset"], study)
    test = context.held_out(
        "test", payload["dataset"], payload["split"], payload["place"]["regimen"], study
    )
    made = made_images(payload["images"], context, study)
    sources = {"real": (dataset, test), "made": (made.arrays, made.rows)}
    seed, count = study.settings.seed, payload["count"]
    inputs = {"dataset": payload["dataset"], "split": payload["split"]}
    inputs["synthetic"] = payload["images"]["synthetic"]
    lineage = lineage_of_images(payload["images"], context)
    found: list[dict[str, Any]] = []
    with draft(context.store, "cams", task.id, inputs=inputs, lineage=lineage) as draft_:
        for number, name in enumerate(payload["classes"]):
            column = class_index(dataset.labels.classes, name)
            maps, pictures = {}, {}
            for kind, (arrays, rows) in sources.items():
                mine = rows[arrays.labels.labels_NK[rows, column] == 1]
                chosen = stream(seed, "cams", kind, name).permutation(mine)[:count]
                images_NCHW = arrays.images_NCHW[chosen]
                maps[kind] = _maps(model, images_NCHW, column, context.device)
                if len(chosen):
                    pictures[kind] = f"{number:02d}-{kind}.png"
                    write_sheet(
                        draft_.path / pictures[kind],
                        _shown(images_NCHW[:TILES], maps[kind][:TILES]),
                        min(TILES, len(chosen)),
                    )
            found.append({"class": name, "pictures": pictures, **_figures(maps, seed, name)})
        text = json.dumps({"classes": found}, indent=1, ensure_ascii=False, allow_nan=False)
        write_file(draft_.path / CAMS_FILE, text.encode())
        place = payload["place"]
        draft_.info.update(arm=place["arm"], regimen=place["regimen"], tiles=TILES)


def _classifier(task: Task, context: Context, study: Study) -> nn.Module:
    """Return the trial's classifier; train it anew where it was not kept, to the same weights."""
    place = Trial(**task.payload["place"])
    if not exists(context.store, "weights", place.trial_id):
        payload = task.payload["trial"]
        trial = Task("trial", place.trial_id, task.label, (), payload, task.study, place)
        trained = train(trial, context, study)
        if trained.result.status != "done":
            raise TrainingError(
                f"the classifier of {task.label} was not kept, and trained anew it ended "
                f"otherwise: {trained.result.message or trained.result.status}"
            )
        keep_weights(trial, context, study, trained)
        shutil.rmtree(context.unfinished(trial), ignore_errors=True)
    return read_classifier(context.artifact("weights", place.trial_id), context.device)


def _maps(model: nn.Module, images_NCHW: np.ndarray, column: int, device: str) -> np.ndarray:
    """Return maps_NHW of one class."""
    batches = [
        class_activation_maps(
            model,
            normalise(torch.from_numpy(images_NCHW[start : start + _BATCH]).to(device)),
            [column],
        )[:, 0]
        for start in range(0, len(images_NCHW), _BATCH)
    ]
    return np.concatenate(batches) if batches else np.zeros((0, 1, 1), dtype=np.float32)


def _figures(maps: dict[str, np.ndarray], seed: int, name: str) -> dict[str, Any]:
    """Return how alike and how concentrated maps are; null where too few images tell."""
    real, made = maps["real"], maps["made"]
    result: dict[str, Any] = {"images": {kind: len(each) for kind, each in maps.items()}}
    pairs = {"real_made": (real, made), "real_real": (real, None), "made_made": (made, None)}
    for kind, (first, second) in pairs.items():
        generator = stream(seed, "cams-bootstrap", kind, name)
        try:
            result[kind] = dataclasses.asdict(mean_similarity(first, second, generator))
        except DataError as error:
            result[kind] = {"why": str(error)}
    for kind, each in maps.items():
        shares = [concentration(map_HW) for map_HW in each]
        known = [item.share for item in shares if not math.isnan(item.share)]
        result[f"concentration_{kind}"] = float(np.mean(known)) if known else None
        result["concentration_uniform"] = shares[0].uniform if shares else None
    return result


def _shown(images_NCHW: np.ndarray, maps_NHW: np.ndarray) -> np.ndarray:
    """Return the images, and after them the same with their maps over them, RGB."""
    from matplotlib import colormaps

    size = images_NCHW.shape[-1]
    plain = np.broadcast_to(images_NCHW, (len(images_NCHW), 3, size, size))
    top = max(float(maps_NHW.max()), 1e-9)  # one scale a strip: what is faint stays faint
    over = []
    for image_CHW, map_HW in zip(plain, maps_NHW, strict=True):
        heat = np.clip(map_HW / top, 0, 1).astype(np.float32)
        picture = Image.fromarray(heat).resize((size, size), Image.Resampling.BICUBIC)
        colours_HWC = 255 * colormaps[_COLOURS](np.clip(np.asarray(picture), 0, 1))[..., :3]
        mixed = (1 - _OPACITY) * image_CHW + _OPACITY * colours_HWC.transpose(2, 0, 1)
        over.append(np.rint(mixed).astype(np.uint8))
    return np.concatenate([plain, np.stack(over)])
