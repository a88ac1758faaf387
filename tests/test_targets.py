from __future__ import annotations

import pytest

from synthtrial.errors import StoreError
from synthtrial.store.artifacts import open_store
from synthtrial.study import load
from synthtrial.targets import raise_target, read_target, with_target


def test_a_target_is_remembered_and_never_lowered(tmp_path):
    study, store = load("digits"), open_store(tmp_path / "store")
    assert with_target(study, store) is study
    assert raise_target(study, store, 20).settings.protocol.replicates == 20
    assert with_target(study, store).settings.protocol.replicates == 20
    assert raise_target(study, store, 10).settings.protocol.replicates == 20


def test_targets_belong_to_one_study(tmp_path):
    store = open_store(tmp_path / "store")
    raise_target(load("digits"), store, 20)
    assert with_target(load("digits", ["name=other"]), store).settings.protocol.replicates == 6


def test_a_spoiled_target_is_an_error_that_says_what_to_do(tmp_path):
    study, store = load("digits"), open_store(tmp_path / "store")
    raise_target(study, store, 20)
    (store.root / "studies" / "digits.replicates.json").write_text("{}")
    with pytest.raises(StoreError, match="remove it and run `synthtrial replicate digits --to N`"):
        with_target(study, store)


def test_looks_are_kept_with_what_was_seen(tmp_path):
    study, store = load("digits"), open_store(tmp_path / "store")
    raise_target(study, store, 20, seen=6, by="--to 20")
    raise_target(study, store, 15, seen=6, by="--to 15")  # changes nothing
    raise_target(study, store, 30, seen=20, by="--to 30")
    looks = read_target(study, store).looks
    assert [(look.before, look.after, look.seen, look.by) for look in looks] == [
        (6, 20, 6, "--to 20"),
        (20, 30, 20, "--to 30"),
    ]


def test_a_target_of_before_looks_were_kept_is_read(tmp_path):
    study, store = load("digits"), open_store(tmp_path / "store")
    raise_target(study, store, 20)
    (store.root / "studies" / "digits.replicates.json").write_text('{"replicates": 12}')
    assert read_target(study, store).looks == ()
    assert with_target(study, store).settings.protocol.replicates == 12
