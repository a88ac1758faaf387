"""Pictures for the report, made where the images are: the report itself reads no shard."""

from __future__ import annotations

import json
from typing import Any

from synthtrial.data.labels import class_index, locate
from synthtrial.data.splits import select
from synthtrial.identity import stream
from synthtrial.store.artifacts import Descent, draft
from synthtrial.store.files import write_file
from synthtrial.tasks import Task
from synthtrial.work.context import Context
from synthtrial.work.images import made_images
from synthtrial.work.pictures import write_sheet

TILES = 12

#: By what :func:`made_images` calls it: the kind of artifact, and how a strip names it.
_ARTIFACTS = {
    "synthetic": ("synthetic", "id"),
    "kept": ("filtered", "kept"),
    "dose": ("allocation", "dose"),
}


def exhibit(task: Task, context: Context) -> None:
    """Commit strips of real and synthetic images of each class of interest.

    Of an arm with a filter, or a dose of such an arm's images, they show what it adds and not what
    the filter left out.

    ``exhibits.json`` lists them: file, role (``real`` or ``synthetic``), class, number of tiles
    and, for synthetic ones, the arm and the regimen.
    """
    study, payload = context.study(task.study), task.payload
    dataset, split = payload["dataset"], payload["split"]
    classes = payload["classes"] or list(context.artifact("dataset", dataset).info["classes"])
    strips: list[dict[str, Any]] = [{"role": "real", "id": dataset}, *payload["synthetic"]]
    inputs = {"dataset": dataset, "split": split}
    for number, strip in enumerate(strips[1:]):
        for role, (kind, key) in _ARTIFACTS.items():
            if key in strip:
                inputs[f"{role}-{number}"] = f"{kind}/{strip[key]}"
    lineage = [Descent(split, ("train",), None)]
    with draft(context.store, "exhibits", task.id, inputs=inputs, lineage=lineage) as made:
        pictures: list[dict[str, Any]] = []
        for number, strip in enumerate(strips):
            real = strip.get("role") == "real"
            if real:
                arrays, table = context.images("dataset", dataset, study), context.split(split)
                rows = locate(arrays.labels, table.sample_ids[select(table, role="train")])
            else:
                treatment = {r: strip[key] for r, (_, key) in _ARTIFACTS.items() if key in strip}
                images = made_images(treatment, context, study)
                arrays, rows = images.arrays, images.rows
            for name in classes:
                column = class_index(arrays.labels.classes, name)
                mine = rows[arrays.labels.labels_NK[rows, column] == 1]
                if not len(mine):
                    continue
                mine = stream(study.settings.seed, "exhibit", name).permutation(mine)[:TILES]
                file = f"{number:02d}-{len(pictures):03d}.png"
                write_sheet(made.path / file, arrays.images_NCHW[mine], len(mine))
                pictures.append(
                    {
                        "file": file,
                        "role": "real" if real else "synthetic",
                        "class": name,
                        "tiles": len(mine),
                        "arm": strip.get("arm"),
                        "regimen": strip.get("regimen"),
                    }
                )
        text = json.dumps({"pictures": pictures}, indent=1, ensure_ascii=False)
        write_file(made.path / "exhibits.json", text.encode())
        made.info.update(pictures=len(pictures))
