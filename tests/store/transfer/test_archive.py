"""Archives on disk: whole or not there, and nothing in them that could leave a store."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile

import pytest

from synthtrial.errors import StoreError, StoreSchemaError
from synthtrial.store.transfer import archive as archives
from synthtrial.store.transfer.archive import reading, writing
from synthtrial.store.transfer.formats import ABOUT


@pytest.fixture(params=["tar", "folder"])
def made(tmp_path, request):
    out = tmp_path / ("an archive.tar" if request.param == "tar" else "an archive")
    source = tmp_path / "file"
    source.write_bytes(b"from a file")
    about = {"note": "hello"}
    with writing(out, about) as archive:
        archive.add("store.json", b"{}")
        archive.add("split/s1/split.parquet", source)
        about["late"] = 1
    return out


def test_what_goes_in_comes_out(made, tmp_path):
    with reading(made) as archive:
        assert (archive.about["note"], archive.about["late"]) == ("hello", 1)
        assert set(archive.files) == {"store.json", "split/s1/split.parquet"}
        assert archive.read("store.json") == b"{}"
        archive.copy("split/s1/split.parquet", tmp_path / "deep" / "copy")
    assert (tmp_path / "deep" / "copy").read_bytes() == b"from a file"
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {made.name, "file", "deep"}


def test_nothing_is_overwritten(made):
    with pytest.raises(StoreError, match="exists already"), writing(made, {}):
        pass


def test_an_export_that_fails_leaves_nothing(tmp_path):
    def fail(name):
        with writing(tmp_path / name, {}) as archive:
            archive.add("x", b"x")
            raise RuntimeError

    for name in ("a.tar", "folder"):
        with pytest.raises(RuntimeError):
            fail(name)
    assert list(tmp_path.iterdir()) == []


def test_a_tar_says_nothing_of_who_made_it(tmp_path):
    with writing(tmp_path / "a.tar", {}) as archive:
        archive.add("x", b"x")
    with tarfile.open(tmp_path / "a.tar") as tar:
        assert {(m.uid, m.gid, m.uname, m.gname, m.mtime) for m in tar} == {(0, 0, "", "", 0)}


def test_a_folder_cannot_be_made_in_a_file(tmp_path):
    (tmp_path / "file").write_text("x")
    place = tmp_path / "file" / "a.tar"
    with pytest.raises(StoreError, match="cannot be written"), writing(place, {}) as archive:
        archive.add("x", b"x")


def repack(path, change):
    """Write a tar anew, members and contents changed."""
    with tarfile.open(path) as tar:
        members = [(m, tar.extractfile(m).read()) for m in tar]
    with tarfile.open(path, "w") as tar:
        for member, content in change(members):
            member.size = len(content) if member.isreg() else 0
            tar.addfile(member, io.BytesIO(content))


@pytest.fixture
def tar(tmp_path):
    with writing(tmp_path / "a.tar", {}) as archive:
        archive.add("store.json", b"{}")
        archive.add("split/s1/split.parquet", b"content")
    return tmp_path / "a.tar"


def evil(name, kind=tarfile.REGTYPE, link=""):
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, link
    return member, b"evil"


@pytest.mark.parametrize(
    "member",
    [
        evil("../outside"),
        evil("split/../../outside"),
        evil("/etc/outside"),
        evil("split/s1/link", tarfile.SYMTYPE, "/etc/passwd"),
        evil("split/s1/link", tarfile.SYMTYPE, "split.parquet"),
        evil("split/s1/hard", tarfile.LNKTYPE, "store.json"),
        evil("split/s1/device", tarfile.CHRTYPE),
        evil("split/.hidden"),
        evil("store.json"),  # twice
    ],
    ids=lambda member: f"{member[0].name}-{member[0].type.decode()}",
)
def test_names_that_could_leave_the_store_and_links_are_refused(tar, member, tmp_path):
    repack(tar, lambda members: [*members, member])
    with pytest.raises(StoreError, match="refused"), reading(tar):
        pass
    assert not (tmp_path / "outside").exists()


def test_a_link_in_a_folder_is_refused(tmp_path):
    with writing(tmp_path / "folder", {}) as archive:
        archive.add("x", b"x")
    (tmp_path / "folder" / "y").symlink_to("/etc/passwd")
    with pytest.raises(StoreError, match="refused"), reading(tmp_path / "folder"):
        pass


def change_content(members):
    return [(m, b"changed" if m.name.endswith(".parquet") else c) for m, c in members]


def test_a_file_that_changed_is_found(tar, tmp_path):
    repack(tar, change_content)
    with reading(tar) as archive:
        with pytest.raises(StoreError, match=r"split.parquet is damaged"):
            archive.read("split/s1/split.parquet")
        with pytest.raises(StoreError, match=r"split.parquet is damaged"):
            archive.copy("split/s1/split.parquet", tmp_path / "copy")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda members: members[:-1], "has no archive.json"),
        (lambda members: members[1:], "lacks store.json"),
        (lambda members: [*members, evil("stranger")], "holds, beside what was exported, stranger"),
        (lambda members: [*members[:-1], (members[-1][0], b"{}")], "cannot be read"),
    ],
)
def test_what_lacks_a_part_is_no_archive(tar, change, words):
    repack(tar, change)
    with pytest.raises(StoreError, match=words), reading(tar):
        pass


def about_changed(**changes):
    def change(members):
        *rest, (member, content) = members
        about = json.loads(content) | changes
        about.pop("checksum")
        about["checksum"] = archives._checksum(about)
        return [*rest, (member, json.dumps(about).encode())]

    return change


def test_a_newer_schema_is_refused(tar):
    repack(tar, about_changed(schema=99))
    with pytest.raises(StoreSchemaError), reading(tar):
        pass


def test_an_edited_description_is_found(tar):
    repack(
        tar, lambda members: [(m, c.replace(b'"format": 1', b'"format": 2')) for m, c in members]
    )
    with pytest.raises(StoreError, match="was altered"), reading(tar):
        pass


def test_a_tar_that_was_cut_off_is_found(tar):
    content = tar.read_bytes()
    (name,) = [n for n in json.loads(_about(tar))["files"] if n.endswith("parquet")]
    for length in (0, 100, 512, content.index(b'"checksum"')):
        tar.write_bytes(content[:length])
        with pytest.raises(StoreError), reading(tar) as archive:
            archive.read(name)


def _about(path):
    with tarfile.open(path) as tar:
        return tar.extractfile(ABOUT).read()


def test_checksums_are_those_of_the_content(tar):
    files = json.loads(_about(tar))["files"]
    assert files["split/s1/split.parquet"] == {
        "bytes": 7,
        "sha256": hashlib.sha256(b"content").hexdigest(),
    }
