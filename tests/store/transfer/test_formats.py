"""What is no archive is told what it is; names that promise another format are refused."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import tarfile
import zipfile
from pathlib import Path

import pytest

from synthtrial.errors import ConfigError, StoreError
from synthtrial.store.transfer.archive import reading, writing
from synthtrial.store.transfer.formats import check_new, check_readable

#: Words of tarfile and of Python that no message of ours has.
INTERNALS = ("ReadError", "method", "header", "Error(", "end of data")


@pytest.fixture
def tar(tmp_path):
    with writing(tmp_path / "a.tar", {}) as archive:
        archive.add("store.json", b"{}")
        archive.add("split/s1/split.parquet", bytes(5000))
    return tmp_path / "a.tar"


def zipped(tar):
    with zipfile.ZipFile(tar.with_suffix(".zip"), "w") as file:
        file.write(tar)
    return tar.with_suffix(".zip").read_bytes()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda tar: b"hello " * 1000, r"is no tar file, .* \.tar file, or a folder, that `synth"),
        (lambda tar: b"hello", r"is no tar file"),
        (lambda tar: bytes(2000), r"is no tar file"),
        (lambda tar: b"", r"is an empty file.* export it anew"),
        (lambda tar: tar.read_bytes()[:100], r"is no tar file"),
        (lambda tar: tar.read_bytes()[:300], r"was cut off.* export it anew"),
        (lambda tar: tar.read_bytes()[:600], r"was cut off.* export it anew"),
        (lambda tar: tar.read_bytes()[:3000], r"was cut off.* export it anew"),
        (lambda tar: gzip.compress(tar.read_bytes()), r"is compressed \(gzip\).* unpack it"),
        (lambda tar: gzip.compress(tar.read_bytes())[:90], r"is compressed \(gzip\)"),
        (lambda tar: bz2.compress(tar.read_bytes()), r"is compressed \(bzip2\)"),
        (lambda tar: lzma.compress(tar.read_bytes()), r"is compressed \(xz\)"),
        (zipped, r"is compressed \(zip\)"),
    ],
)
def test_a_file_that_is_no_archive_is_told_so_in_one_line(tar, tmp_path, make, words):
    path = tmp_path / "given.tar"
    path.write_bytes(make(tar))
    with pytest.raises(StoreError, match=words) as caught, reading(path) as archive:
        archive.read("split/s1/split.parquet")
    text = str(caught.value)
    assert text.startswith(str(path))
    assert "\n" not in text
    assert not [word for word in INTERNALS if word in text]


def test_what_is_missing_or_no_regular_file_is_told_so(tmp_path):
    with pytest.raises(StoreError, match=r"no archive at .*none: import takes a \.tar file"):
        check_readable(tmp_path / "none")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(StoreError, match="no regular file"):  # and is not waited for
        check_readable(tmp_path / "pipe")


def test_a_folder_needs_its_list_and_is_not_walked_without(tmp_path):
    (tmp_path / "a name, and more").touch()  # which an archive could not have
    with pytest.raises(StoreError, match=r"has no archive\.json: it is no export"):
        check_readable(tmp_path)
    with pytest.raises(StoreError, match=r"has no archive\.json"), reading(tmp_path):
        pass
    (tmp_path / "store.json").write_text("{}")
    with pytest.raises(StoreError, match=r"is a store, and no archive of one"):
        check_readable(tmp_path)


def test_an_archive_that_another_tar_made_is_read(tar, tmp_path):
    with tarfile.open(tar) as file:
        file.extractall(tmp_path / "folder", filter="data")
    for kind in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        with tarfile.open(tmp_path / f"{kind}.tar", "w", format=kind) as file:
            file.add(tmp_path / "folder", arcname=".")
        with reading(tmp_path / f"{kind}.tar") as archive:
            assert archive.read("store.json") == b"{}"


@pytest.mark.parametrize(
    ("name", "instead"),
    [
        ("a.zip", "a"),
        ("a.tgz", "a"),
        ("a.tar.gz", "a"),
        ("v1.2.tar.xz", "v1.2"),
        ("a.TAR", "a"),
        ("deep/a.7z", "deep/a"),
        ("a.tar.ZST", "a"),
    ],
)
def test_a_name_that_promises_another_format_is_refused(tmp_path, monkeypatch, name, instead):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError) as caught:
        check_new(Path(name))
    text = str(caught.value)
    assert text.startswith(f"'{name}' ends in {Path(name).suffix}")
    assert f"such as '{instead}.tar', or a folder's, such as '{instead}'" in text
    with pytest.raises(ConfigError), writing(Path(name), {}):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["a.tar", "a", "digits-1.0", "a.gz.tar", "a.d", "gz"])
def test_other_names_are_allowed_until_they_are_taken(tmp_path, name):
    check_new(tmp_path / name)
    with writing(tmp_path / name, {}) as archive:
        archive.add("store.json", b"{}")
    assert (tmp_path / name).is_file() == name.endswith(".tar")
    with pytest.raises(StoreError, match="exists already: give the archive another name"):
        check_new(tmp_path / name)
