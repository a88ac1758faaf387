from __future__ import annotations

import os
import tempfile
import time

import numpy as np
import pytest

from synthtrial.errors import DamagedArtifactError, StoreError
from synthtrial.store.artifacts import draft, read_artifact
from synthtrial.store.cache import cache_root, clear_process_cache, evict, load_arrays
from synthtrial.store.images import iterate_images, write_shards


def test_arrays_hold_all_images_and_labels(dataset, tmp_path):
    artifact = dataset(channels=3)
    arrays = load_arrays(artifact, str(tmp_path / "cache"))
    assert arrays.images_NCHW.shape == (20, 3, 8, 8)
    np.testing.assert_array_equal(arrays.images_NCHW, list(iterate_images(artifact)))
    assert len(arrays.labels) == 20
    assert not arrays.images_NCHW.flags.writeable


def test_repeated_calls_in_a_process_are_the_same_arrays(dataset, store, tmp_path):
    artifact = dataset()
    again = read_artifact(store, "dataset", artifact.id)
    one = load_arrays(artifact, str(tmp_path / "cache"))
    assert load_arrays(again, str(tmp_path / "cache")) is one


def test_equal_bytes_are_decoded_once(dataset, tmp_path):
    for name in ("d1", "d2"):
        load_arrays(dataset(name), str(tmp_path / "cache"))
        clear_process_cache()
    assert len(list((tmp_path / "cache").glob("*.pixels"))) == 1


DECODE = """
import sys, time
from pathlib import Path
from synthtrial.store import cache
from synthtrial.store.artifacts import open_store, read_artifact
artifact = read_artifact(open_store(Path(sys.argv[1])), "dataset", "d1")
real = cache._decode
def slowly(*arguments):
    print("decoding", flush=True)
    time.sleep(0.5)
    real(*arguments)
cache._decode = slowly
sys.stdin.readline()
print(int(cache.load_arrays(artifact, sys.argv[2]).images_NCHW.sum()))
"""


def test_two_processes_at_once_decode_once(dataset, store, tmp_path, process):
    artifact = dataset()
    children = [process(DECODE, store.root, tmp_path / "cache") for _ in range(2)]
    outputs = []
    for child in children:
        child.stdin.write("go\n")
        child.stdin.flush()
    for child in children:
        assert child.wait(60) == 0, child.stderr.read()
        outputs.append(child.stdout.read().split())
    total = str(int(np.sum(list(iterate_images(artifact)), dtype=np.int64)))
    assert sorted(len(words) for words in outputs) == [1, 2]
    assert {words[-1] for words in outputs} == {total}
    assert len(list((tmp_path / "cache").glob("*.pixels*"))) == 1


def test_a_killed_decoder_is_followed_by_the_next(dataset, store, tmp_path, process):
    artifact = dataset()
    child = process(DECODE, store.root, tmp_path / "cache")
    child.stdin.write("go\n")
    child.stdin.flush()
    assert child.stdout.readline() == "decoding\n"
    child.kill()
    child.wait()
    path = tmp_path / "cache" / f"{artifact.content_digest}.pixels"
    path.with_name(f"{path.name}.tmp-0123").write_bytes(b"half")
    assert load_arrays(artifact, str(tmp_path / "cache")).images_NCHW.shape == (20, 1, 8, 8)
    assert list((tmp_path / "cache").glob("*.tmp-*")) == []


@pytest.mark.parametrize(
    "damage", [lambda c: c[:-1], lambda c: c[:100], lambda c: b"", lambda c: c[7:]]
)
def test_an_incomplete_file_is_decoded_again(dataset, tmp_path, damage):
    artifact = dataset()
    good = np.array(load_arrays(artifact, str(tmp_path / "cache")).images_NCHW)
    (path,) = (tmp_path / "cache").glob("*.pixels")
    content = path.read_bytes()
    clear_process_cache()
    path.write_bytes(damage(content))
    np.testing.assert_array_equal(load_arrays(artifact, str(tmp_path / "cache")).images_NCHW, good)
    assert path.read_bytes() == content


def test_an_altered_shard_is_not_decoded(dataset, alter, tmp_path):
    artifact = dataset(n=60, size=16)
    path = artifact.path / artifact.files[1]
    alter(path, len(path.read_bytes()) - 20)  # in the footer, which has no checksum of its own
    with pytest.raises(DamagedArtifactError, match=r"shard-00001.parquet.*altered"):
        load_arrays(artifact, str(tmp_path / "cache"))
    assert list((tmp_path / "cache").glob("*.pixels*")) == []


def test_what_nobody_used_for_a_month_goes(dataset, tmp_path):
    cache = tmp_path / "cache"
    arrays = load_arrays(dataset("d1"), str(cache))
    (old,) = cache.glob("*.pixels")
    (cache / "notes.txt").write_text("not ours")
    month_ago = time.time() - 31 * 24 * 3600
    for path in cache.iterdir():
        os.utime(path, (month_ago, month_ago))
    total = int(arrays.images_NCHW.sum())
    clear_process_cache()
    load_arrays(dataset("d2", seed=1), str(cache))
    assert not old.exists()
    assert (cache / "notes.txt").exists()
    assert int(arrays.images_NCHW.sum()) == total  # whoever has it mapped keeps it
    assert evict(cache) == []


def test_opening_counts_as_use(dataset, tmp_path):
    artifact = dataset()
    load_arrays(artifact, str(tmp_path / "cache"))
    (path,) = (tmp_path / "cache").glob("*.pixels")
    os.utime(path, (0, 0))
    clear_process_cache()
    load_arrays(artifact, str(tmp_path / "cache"))
    assert evict(tmp_path / "cache") == []


def test_the_default_folder_must_be_private(tmp_path, monkeypatch):
    monkeypatch.delenv("SYNTHTRIAL_CACHE", raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    root = cache_root()
    assert root == tmp_path / f"synthtrial-{os.getuid()}"
    assert root.stat().st_mode & 0o777 == 0o700
    root.chmod(0o777)
    with pytest.raises(StoreError, match="not a private folder"):
        cache_root()
    monkeypatch.setenv("SYNTHTRIAL_CACHE", str(tmp_path / "mine"))
    assert cache_root() == tmp_path / "mine"


def test_a_full_scratch_disk_is_one_clear_error(dataset, mount):
    artifact = dataset(n=100, size=32, channels=3)
    disk = mount("size=128k")
    with pytest.raises(StoreError, match=r"is full.*store.cache_path"):
        load_arrays(artifact, str(disk / "cache"))
    assert list((disk / "cache").glob("*.pixels*")) == []


def test_images_of_several_shapes_are_refused(store, image_rows, tmp_path):
    with draft(store, "dataset", "d1", inputs={}) as made:
        for number, size in enumerate((8, 9)):
            folder = made.path / str(number)
            folder.mkdir()
            write_shards(folder, image_rows(3, size=size), ("oak", "ash", "elm"), shard_bytes=10**6)
            (folder / "shard-00000.parquet").rename(made.path / f"shard-0000{number}.parquet")
            folder.rmdir()
    with pytest.raises(DamagedArtifactError, match=r"image 3 .*shape \(1, 9, 9\)"):
        load_arrays(read_artifact(store, "dataset", "d1"), str(tmp_path / "cache"))
