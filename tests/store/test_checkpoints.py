import logging

import pytest
import torch

from synthtrial.errors import StoreError, TrainingError
from synthtrial.store.checkpoints import Checkpoints

CPU = torch.device("cpu")


def state(step):
    return {
        "weights": torch.full((3,), float(step)),
        "step": step,
        "history": {"loss": [0.5, step]},
    }


def test_what_was_saved_is_loaded(tmp_path):
    checkpoints = Checkpoints(tmp_path / "new" / "folder")
    assert checkpoints.newest() is None
    checkpoints.save(7, state(7))
    assert checkpoints.newest() == 7
    loaded = checkpoints.load(7, CPU)
    assert torch.equal(loaded["weights"], torch.full((3,), 7.0))
    assert loaded["history"] == {"loss": [0.5, 7]}


def test_the_last_few_are_kept(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=2)
    for step in (1, 2, 3, 10):
        checkpoints.save(step, state(step))
    assert [path.name[:14] for path in sorted(tmp_path.iterdir())] == [
        "step-000000003",
        "step-000000010",
    ]


@pytest.mark.parametrize("harm", ["truncated", "altered", "emptied"])
def test_a_damaged_one_is_passed_over_and_named(tmp_path, harm, caplog):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, state(1))
    newest = checkpoints.save(2, state(2))
    content = bytearray(newest.read_bytes())
    if harm == "altered":
        content[len(content) // 2] ^= 1
    newest.write_bytes(
        content if harm == "altered" else content[: len(content) // 2 if harm == "truncated" else 0]
    )
    with caplog.at_level(logging.WARNING):
        assert checkpoints.newest() == 1
    assert str(newest) in caplog.text
    assert checkpoints.load(1, CPU)["step"] == 1
    with pytest.raises(TrainingError, match="no sound checkpoint of step 2"):
        checkpoints.load(2, CPU)


def test_where_all_are_damaged_there_is_none(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, state(1)).write_bytes(b"")
    assert checkpoints.newest() is None


@pytest.mark.parametrize("keep", [1, 2])
def test_what_claims_to_be_newer_goes_when_an_older_one_was_gone_on_from(tmp_path, keep):
    checkpoints = Checkpoints(tmp_path, keep=keep)
    Checkpoints(tmp_path, keep=3).save(1, state(1))
    Checkpoints(tmp_path, keep=3).save(9, state(9)).write_bytes(b"")
    assert checkpoints.newest() == 1
    checkpoints.save(4, state(4))
    assert checkpoints.newest() == 4
    assert [int(path.name[5:14]) for path in sorted(tmp_path.iterdir())] == [1, 4][-keep:]


def test_what_a_killed_writer_left_is_no_checkpoint(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, state(1))
    (tmp_path / "step-000000002.pt.tmp-1234").write_bytes(b"half")
    assert checkpoints.newest() == 1


def test_a_full_disk_keeps_the_older_ones(mount):
    where = mount("size=64k")
    checkpoints = Checkpoints(where / "checkpoints")
    checkpoints.save(1, state(1))
    with pytest.raises(StoreError, match="full"):
        checkpoints.save(2, {"weights": torch.zeros(100_000)})
    assert checkpoints.newest() == 1
    assert len(list((where / "checkpoints").iterdir())) == 1


def test_nothing_but_tensors_and_plain_data_is_unpickled(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    with pytest.raises(TrainingError, match="cannot be read back"):
        checkpoints.save(1, {"code": test_where_all_are_damaged_there_is_none})
    assert list(tmp_path.iterdir()) == []


def test_it_is_due_after_so_many_steps_or_so_long(tmp_path):
    by_steps = Checkpoints(tmp_path, every_steps=3)
    assert [step for step in range(1, 8) if by_steps.is_due(step)] == [3, 6]
    assert not Checkpoints(tmp_path, every_seconds=1000.0).is_due(5)
    assert Checkpoints(tmp_path, every_seconds=0.0).is_due(5)


def test_time_counts_from_the_last_one_saved(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    checkpoints._last_saved -= 1000
    assert checkpoints.is_due(1)
    assert checkpoints.unsaved_seconds >= 1000
    checkpoints.save(1, state(1))
    assert not checkpoints.is_due(2)
    assert checkpoints.unsaved_seconds < 1000
