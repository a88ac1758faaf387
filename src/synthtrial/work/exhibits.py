"""Pictures for the report, made where the images are: the report itself reads no shard."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from synthtrial.data.labels import class_index, locate
from synthtrial.data.splits import select
from synthtrial.identity import stream
from synthtrial.store.artifacts import Descent, draft
from synthtrial.store.files import write_file
from synthtrial.tasks import Task
from synthtrial.work.context import Context

TILES = 12


def exhibit(task: Task, context: Context) -> None:
    """Commit strips of real and synthetic images of each class of interest.

    ``exhibits.json`` lists them: file, role (``real`` or ``synthetic``), class, number of tiles
    and, for synthetic ones, the arm and the regimen.
    """
    study, payload = context.study(task.study), task.payload
    dataset, split = payload["dataset"], payload["split"]
    classes = payload["classes"] or list(context.artifact("dataset", dataset).info["classes"])
    strips: list[dict[str, Any]] = [{"role": "real", "id": dataset}, *payload["synthetic"]]
    inputs = {"dataset": dataset, "split": split}
    inputs |= {f"synthetic-{i}": f"synthetic/{s['id']}" for i, s in enumerate(strips[1:])}
    lineage = [Descent(split, ("train",), None)]
    with draft(context.store, "exhibits", task.id, inputs=inputs, lineage=lineage) as made:
        pictures: list[dict[str, Any]] = []
        for number, strip in enumerate(strips):
            real = strip.get("role") == "real"
            arrays = context.images("dataset" if real else "synthetic", strip["id"], study)
            rows = np.arange(len(arrays.labels))
            if real:
                table = context.split(split)
                rows = locate(arrays.labels, table.sample_ids[select(table, role="train")])
            for name in classes:
                column = class_index(arrays.labels.classes, name)
                mine = rows[arrays.labels.labels_NK[rows, column] == 1]
                if not len(mine):
                    continue
                mine = stream(study.settings.seed, "exhibit", name).permutation(mine)[:TILES]
                file = f"{number:02d}-{len(pictures):03d}.png"
                _write_strip(made.path / file, arrays.images_NCHW[mine])
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


def _write_strip(path: Path, images_NCHW: np.ndarray) -> None:
    """Write images side by side, without gaps, as one PNG."""
    strip_HWC = np.concatenate(list(images_NCHW.transpose(0, 2, 3, 1)), axis=1)
    image = Image.fromarray(strip_HWC[..., 0] if strip_HWC.shape[-1] == 1 else strip_HWC)
    image.save(path, format="PNG")
