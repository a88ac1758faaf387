"""Kept logits: small on disk, the same when read, and damage is named."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from synthtrial.data.predictions import read_predictions, write_predictions
from synthtrial.errors import DamagedArtifactError
from synthtrial.store.artifacts import draft, open_store, read_artifact


@pytest.fixture
def kept(tmp_path):
    store = open_store(tmp_path, create=True)
    ids = np.array([f"patient{n:05d}/view.jpg" for n in range(900)], dtype=object)
    logits = np.random.default_rng(0).normal(size=(900, 3)).astype(np.float32)
    with draft(store, "predictions", "a" * 64, inputs={}) as made:
        write_predictions(made.path, "test", ids, logits, ("ash", "bay", "elm"))
        # As they were written once: every logit in a dictionary as well.
        columns = {f"logit.{name}": logits[:, k] for k, name in enumerate(("ash", "bay", "elm"))}
        pq.write_table(
            pa.table({"sample_id": ids.tolist(), **columns}), made.path / "validation.parquet"
        )
    return read_artifact(store, "predictions", "a" * 64), ids, logits


@pytest.mark.parametrize("role", ["test", "validation"])
def test_what_was_written_is_read_classes_by_name(kept, role):
    artifact, ids, logits = kept
    found = read_predictions(artifact, role, ("elm", "ash"))
    assert found.sample_ids.to_pylist() == ids.tolist()
    assert found.logits_NK.dtype == np.float32
    assert (found.logits_NK == logits[:, [2, 0]]).all()


def test_a_row_takes_little_more_than_its_logits(kept):
    artifact, _, logits = kept
    assert artifact.entry("test.parquet")["bytes"] < 1.25 * logits.nbytes
    assert artifact.entry("validation.parquet")["bytes"] > 1.6 * logits.nbytes


def test_a_class_that_is_not_there_is_damage(kept):
    with pytest.raises(DamagedArtifactError, match=r"no column \['logit.oak'\]"):
        read_predictions(kept[0], "test", ("oak",))
