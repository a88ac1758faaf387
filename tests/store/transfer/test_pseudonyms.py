"""Hashed ids: one for one, secret, and in texts too."""

from __future__ import annotations

import hashlib
import hmac

import pyarrow.parquet as pq
import pytest

from synthtrial.errors import StoreError
from synthtrial.store.images import ImageRow, write_shards
from synthtrial.store.transfer.pseudonyms import (
    Pseudonyms,
    Scrubber,
    ids_in,
    new_salt,
    read_salt,
    rewrite_table,
    texts_in,
)

SALT = b"sixteen bytes or more"


@pytest.fixture
def names():
    return Pseudonyms(SALT)


def test_a_pseudonym_is_the_keyed_hash_of_kind_and_name(names):
    theirs = hmac.new(SALT, "group\0Müller".encode(), hashlib.sha256).hexdigest()
    assert names.of("group", "Müller") == f"group-{theirs[:20]}"
    assert names.of("sample", "Müller") != names.of("group", "Müller")


def test_salts_are_told_apart_and_not_given_away(names):
    other = Pseudonyms(SALT + b"!")
    assert Pseudonyms(SALT).key == names.key != other.key
    assert names.of("sample", "x") != other.of("sample", "x")
    assert hashlib.sha256(SALT).hexdigest()[:12] != names.key
    assert new_salt() != new_salt()


def test_a_salt_that_could_be_guessed_is_refused(tmp_path):
    file = tmp_path / "salt"
    file.write_text("hospital\n")
    with pytest.raises(StoreError, match="8 bytes; a salt needs 16"):
        read_salt(file)
    with pytest.raises(StoreError, match="cannot be read"):
        read_salt(tmp_path / "none")
    file.write_bytes(SALT + b"\n")
    assert read_salt(file) == SALT


@pytest.fixture
def shard(tmp_path, image_rows):
    rows = [
        ImageRow(row.sample_id, row.group_id, row.image_HWC, row.labels) for row in image_rows(20)
    ]
    write_shards(tmp_path, rows, ("oak", "ash", "elm"), shard_bytes=10**6)
    return tmp_path / "shard-00000.parquet", rows


@pytest.mark.parametrize("sort", [True, False])
def test_a_rewritten_shard_has_the_same_rows_under_other_names(tmp_path, shard, names, sort):
    path, rows = shard
    target = tmp_path / "new.parquet"
    rewrite_table(path, target, names, sort=sort)
    before, after = pq.read_table(path).to_pylist(), pq.read_table(target).to_pylist()
    assert pq.read_schema(target).equals(pq.read_schema(path), check_metadata=True)
    expected = [
        row
        | {
            "sample_id": names.of("sample", row["sample_id"]),
            "group_id": row["group_id"] and names.of("group", row["group_id"]),
            "image": row["image"] | {"path": names.of("sample", row["sample_id"]) + ".png"},
        }
        for row in before
    ]
    if sort:
        expected.sort(key=lambda row: row["sample_id"])
        assert [r["sample_id"] for r in after] != [names.of("sample", r.sample_id) for r in rows]
    assert after == expected
    content = target.read_bytes()
    assert not any(row.sample_id.encode() in content for row in rows)
    assert ids_in(target) == (
        {names.of("sample", row.sample_id) for row in rows},
        {names.of("group", row.group_id) for row in rows if row.group_id},
    )


def test_a_text_column_nobody_knows_is_taken_for_ids(tmp_path, names):
    import pyarrow as pa

    table = pa.table({"sample_id": ["b", "a"], "comment": ["Mr Smith", None], "role": ["test"] * 2})
    pq.write_table(table, tmp_path / "t.parquet")
    rewrite_table(tmp_path / "t.parquet", tmp_path / "new.parquet", names, sort=False)
    found = pq.read_table(tmp_path / "new.parquet").to_pydict()
    assert found["role"] == ["test", "test"]
    assert found["comment"] == [names.of("sample", "Mr Smith"), None]


def test_texts_lose_the_ids_that_they_quote(names):
    texts = [
        "group 'patient-7' (and 3 more) is trained on and judged on",
        "/data/patient-7/view1.png and 'patient-70/view1.png' cannot be read after 17 epochs",
        "image '17' of class 'oak' is odd",
    ]
    samples = ["patient-70/view1.png", "17", "17b", "absent"]
    scrub = Scrubber(names, samples, ["patient-7", "oak", "a"], texts, words=["oak"])
    group = names.of("group", "patient-7")
    assert scrub.text(texts[0]) == f"group '{group}' (and 3 more) is trained on and judged on"
    assert scrub.text(texts[1]) == (
        f"/data/{group}/view1.png and '{names.of('sample', 'patient-70/view1.png')}' cannot be "
        "read after 17 epochs"
    )
    assert scrub.text(texts[2]) == f"image '{names.of('sample', '17')}' of class 'oak' is odd"
    data = {"patient-7": ["patient-7", 3, {"x": "patient-7"}]}
    assert scrub.value(data) == {"patient-7": [group, 3, {"x": group}]}
    assert list(texts_in(data)) == ["patient-7", "patient-7"]


def test_texts_without_ids_stay_as_they_are(names):
    scrub = Scrubber(names, ["a-long-name"], [], ["nothing of that"])
    assert scrub.text("not even a-long-name, which no text of the corpus had") == (
        "not even a-long-name, which no text of the corpus had"
    )
