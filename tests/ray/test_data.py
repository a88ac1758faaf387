"""Ray Data reads the shards of a store."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from synthtrial.store.artifacts import exists, open_store, read_artifact
from synthtrial.store.images import iterate_images, read_labels
from synthtrial.study import load
from synthtrial.testing.studies import run_here


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Ray Data's own settings
def test_ray_data_reads_real_and_made_images_with_their_labels(cluster, tiny, tmp_path):
    study = load("digits", tiny("regimens=[0.25]"))
    store = open_store(tmp_path / "store", create=True)
    kinds = ("prepare", "split", "allocate", "train_gan", "synthesize")
    plan = run_here(study, store, only=lambda task: task.kind in kinds)
    import ray

    ray.init(cluster.address, log_to_driver=False)
    try:
        for kind, stage in (("dataset", "prepare"), ("synthetic", "synthesize")):
            task = next(task for task in plan.tasks.values() if task.kind == stage)
            assert exists(store, kind, task.id)
            artifact = read_artifact(store, kind, task.id)
            shards = [str(path) for path in sorted(artifact.path.glob("*.parquet"))]
            rows = ray.data.read_parquet(shards).take_all()
            labels = read_labels(artifact)
            assert sorted(row["sample_id"] for row in rows) == sorted(labels.sample_ids)
            place = {id_: number for number, id_ in enumerate(labels.sample_ids)}
            ours = list(iterate_images(artifact))
            for row in rows[:50]:
                number = place[row["sample_id"]]
                picture = np.asarray(Image.open(io.BytesIO(row["image"]["bytes"])))
                assert (picture == ours[number][0]).all()
                theirs = [row[f"label.{name}"] for name in labels.classes]
                assert theirs == labels.labels_NK[number].tolist()
    finally:
        ray.shutdown()
