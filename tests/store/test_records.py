from __future__ import annotations

import json
import logging
import os
import signal
import time

import duckdb
import numpy as np
import pytest

from synthtrial.errors import DamagedArtifactError, StoreError, StoreSchemaError
from synthtrial.store import records as module
from synthtrial.store.artifacts import open_store
from synthtrial.store.journal import encode, journal_folder, journals, read_journal
from synthtrial.store.maintenance import collect_garbage
from synthtrial.store.records import RecordWriter, compact, read_records, seal_abandoned
from synthtrial.store.records_schema import COLUMNS, to_table
from synthtrial.store.segments import list_segments, segment_folder, write_segment
from synthtrial.store.verification import verify_records


def ids(store):
    return read_records(store).column("trial_id").to_pylist()


def put(store, *rows):
    with RecordWriter(store) as writer:
        for row in rows:
            writer.append(row)


def segments(store):
    return sorted(segment_folder(store).glob("*.parquet"))


def age(store, seconds=7200):
    for path in (store.root / "records").rglob("*"):
        os.utime(path, (time.time() - seconds, time.time() - seconds))


def test_a_record_reads_back_whole_before_and_after_sealing(store, record):
    wanted = dict.fromkeys(COLUMNS) | record()
    with RecordWriter(store) as writer:
        writer.append(record())
        assert read_records(store).to_pylist() == [wanted]
        assert segments(store) == []
    assert read_records(store).to_pylist() == [wanted]
    assert journals(store) == []
    assert len(segments(store)) == 1


def test_an_empty_store_has_an_empty_table(store):
    table = read_records(store)
    assert table.num_rows == 0
    assert table.column_names == list(COLUMNS)
    assert table.to_pandas().empty
    with RecordWriter(store):
        pass
    assert journals(store) == segments(store) == []


def test_numpy_numbers_are_plain_numbers(store, record):
    values = {"steps": np.int64(7), "seconds": np.float32(0.5), "validation": {"a": np.float64(1)}}
    put(store, record(**values, curves={"epoch": np.arange(2)}))
    (row,) = read_records(store).to_pylist()
    assert (row["steps"], row["seconds"], row["validation"]) == (7, 0.5, {"a": 1.0})
    assert row["curves"]["epoch"] == [0, 1]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"accuracy": 1.0}, r"unknown columns \['accuracy'\]"),
        ({"attempt": None}, r"lacks \['attempt'\]"),
        ({"status": "ok"}, "Allowed: done, diverged, stopped, failed"),
        ({"steps": "many"}, "'steps' has the wrong type"),
        ({"attempt": 2**40}, "'attempt' has the wrong type"),
        ({"validation": {"accuracy": "high"}}, "'validation' has the wrong type"),
        ({"validation": [0.5]}, "'validation' has the wrong type"),
        ({"message": object()}, "cannot hold a object"),
        ({"message": 5}, "'message' has the wrong type"),
    ],
)
def test_an_unusable_row_is_refused_before_it_is_written(store, record, values, message):
    with RecordWriter(store) as writer:
        with pytest.raises(StoreError, match=message):
            writer.append(record(**values))
        writer.append(record("good"))
    assert ids(store) == ["good"]


def test_success_beats_failure_then_the_lowest_attempt_counts(store, record):
    put(store, record("a", attempt=0, status="failed", message="out of memory", validation=None))
    put(store, record("a", attempt=2, seconds=2.0), record("a", attempt=1, seconds=1.0))
    put(store, record("b", attempt=1, status="failed"), record("b", attempt=0, status="failed"))
    put(store, record("c", attempt=0, status="diverged"), record("c", attempt=1))
    rows = {row["trial_id"]: row for row in read_records(store).to_pylist()}
    assert list(rows) == ["a", "b", "c"]
    assert (rows["a"]["status"], rows["a"]["attempt"], rows["a"]["seconds"]) == ("done", 1, 1.0)
    assert (rows["b"]["status"], rows["b"]["attempt"]) == ("failed", 0)
    assert rows["c"]["status"] == "done"
    every = read_records(store, every_attempt=True)
    assert [
        (row["trial_id"], row["attempt"])
        for row in every.select(["trial_id", "attempt"]).to_pylist()
    ] == [("a", 0), ("a", 1), ("a", 2), ("b", 0), ("b", 1), ("c", 0), ("c", 1)]


@pytest.mark.parametrize(
    ("statuses", "counts"),
    [
        (("stopped", "done"), "done"),  # trained to its end later
        (("done", "stopped"), "done"),
        (("failed", "stopped"), "stopped"),
        (("stopped", "diverged"), "diverged"),  # went on to its end, such as it was
    ],
)
def test_of_a_stopped_trial_the_most_that_is_known_counts(store, record, statuses, counts):
    for attempt, status in enumerate(statuses):
        put(store, record("a", attempt=attempt, status=status))
    assert [row["status"] for row in read_records(store).to_pylist()] == [counts]
    assert compact(store, force=True)
    assert [row["status"] for row in read_records(store).to_pylist()] == [counts]


def test_metrics_of_different_studies_are_merged_by_name(store, record):
    put(store, record("a", validation={"recall": {"9": 0.9}, "auc": None}))
    put(store, record("b", validation={"accuracy": 0.5, "recall": {"8": 0.8}}, test={"auc": 0.7}))
    put(store, record("c", validation={"auc": {"x": 0.1}}))
    put(store, record("d", validation={"recall": 0.4}))
    put(store, record("e", status="failed", validation={}))
    with RecordWriter(store) as writer:
        writer.append(record("f", validation={"recall": {"8": 1.0}}))
        rows = {row["trial_id"]: row for row in read_records(store).to_pylist()}
    none = {"8": None, "9": None, "overall": None}
    assert rows["a"]["validation"] == {
        "accuracy": None,
        "auc": None,
        "recall": none | {"9": 0.9},
    }
    assert rows["b"]["validation"]["recall"] == none | {"8": 0.8}
    assert rows["b"]["test"] == {"auc": 0.7}
    assert rows["c"]["validation"]["auc"] == {"x": 0.1}
    assert rows["d"]["validation"]["recall"] == none | {"overall": 0.4}
    assert rows["e"]["validation"] is None
    assert rows["f"]["validation"]["recall"] == none | {"8": 1.0}
    before = read_records(store)
    assert compact(store, force=True)
    assert read_records(store).equals(before)


def test_duckdb_reads_segments(store, record):
    put(store, record("a"), record("b", validation={"auc": None}))
    rows = duckdb.sql(
        f"select trial_id, validation.accuracy from '{segment_folder(store)}/*.parquet' order by 1"
    ).fetchall()
    assert rows == [("a", 0.5), ("b", None)]


def test_a_journal_cut_at_any_byte_loses_only_its_last_line(store, record, tmp_path):
    lines = [encode(record(f"t{i}")) for i in range(3)]
    content = b"".join(lines)
    path = tmp_path / "j.jsonl"
    starts = [0, len(lines[0]), len(lines[0] + lines[1]), len(content)]
    near = [start + i for start in starts for i in range(-12, 13)]
    for cut in sorted({*range(0, len(content), 50), *near} & {*range(len(content) + 1)}):
        path.write_bytes(content[:cut])
        whole = sum(cut >= sum(map(len, lines[: i + 1])) for i in range(3))
        found = read_journal(path)
        assert [row["trial_id"] for row in found.rows] == ["t0", "t1", "t2"][:whole]
        assert found.damaged == []
    path.write_bytes(content + bytes(100))  # blocks that a power cut left empty
    assert len(read_journal(path).rows) == 3


def test_a_damaged_line_is_reported_and_costs_only_itself(store, record, caplog):
    journal_folder(store).mkdir(parents=True)
    lines = [encode(record(f"t{i}")) for i in range(3)]
    path = journal_folder(store) / "host-1-abc.jsonl"
    path.write_bytes(lines[0] + lines[1].replace(b"0.5", b"0.9", 1) + lines[2])
    with caplog.at_level(logging.WARNING):
        assert ids(store) == ["t0", "t2"]
    assert "damaged lines [2]" in caplog.text
    (problem,) = [p for _, _, problems in verify_records(store) for p in problems]
    assert "damaged lines [2]" in problem.message
    assert seal_abandoned(store) == 1
    assert ids(store) == ["t0", "t2"]
    assert path.with_name("host-1-abc.jsonl.damaged").exists()
    assert any(problems for _, _, problems in verify_records(store))


WRITER = """
import json, sys
from pathlib import Path
from synthtrial.store.artifacts import open_store
from synthtrial.store.records import RecordWriter
row = json.loads(sys.argv[2])
with RecordWriter(open_store(Path(sys.argv[1]))) as writer:
    for i in range(10**9):
        writer.append(row | {"trial_id": f"{sys.argv[3]}-{i:06d}"})
        print(i, flush=True)
"""


def test_a_killed_writer_loses_nothing_that_it_appended(store, record, process):
    child = process(WRITER, store.root, json.dumps(record()), "w")
    done = -1
    while done < 30:
        done = int(child.stdout.readline())
    assert seal_abandoned(store) == 0  # it is alive
    child.send_signal(signal.SIGKILL)
    done = int((child.communicate()[0].split() or [done])[-1])
    (path,) = journals(store)
    with path.open("ab") as file:
        file.write(b'01234567 {"trial_id": "torn')
    before = ids(store)
    assert before[: done + 1] == [f"w-{i:06d}" for i in range(done + 1)]
    assert seal_abandoned(store) == 1
    assert journals(store) == []
    assert ids(store) == before
    assert seal_abandoned(store) == 0


def test_a_sealer_killed_before_removing_the_journal_counts_nothing_twice(store, record):
    writer = RecordWriter(store)
    for i in range(3):
        writer.append(record(f"t{i}"))
    (path,) = journals(store)
    content = path.read_bytes()
    writer.seal()
    path.write_bytes(content)
    assert read_records(store, every_attempt=True).num_rows == 3
    put(store, record("other"))
    assert compact(store, force=True)
    age(store)
    collect_garbage(store, dry_run=False)  # the segment of that journal is gone
    assert len(segments(store)) == 1
    assert read_records(store, every_attempt=True).num_rows == 4
    assert compact(store, force=True) is False
    put(store, record("more"))
    assert compact(store, force=True)  # names the journal's segment once more
    age(store)
    collect_garbage(store, dry_run=False)
    assert read_records(store, every_attempt=True).num_rows == 5
    assert seal_abandoned(store) == 1
    assert ids(store) == ["more", "other", "t0", "t1", "t2"]
    assert len(segments(store)) == 1


def test_a_long_journal_is_sealed_early(store, record, monkeypatch):
    monkeypatch.setattr(module, "ROWS_PER_JOURNAL", 5)
    with RecordWriter(store) as writer:
        for i in range(12):
            writer.append(record(f"t{i:02d}"))
        assert len(segments(store)) == 2
        assert len(ids(store)) == 12
    assert len(segments(store)) == 3


def test_many_segments_become_one_and_the_old_ones_go_later(store, record, monkeypatch):
    monkeypatch.setattr(module, "LIVE_SEGMENTS", 4)
    for i in range(module.LIVE_SEGMENTS):
        put(store, record(f"t{i:02d}"))
    assert not compact(store)
    put(store, record("last"))
    before = read_records(store)
    assert compact(store)
    assert read_records(store).equals(before)
    assert len(segments(store)) == module.LIVE_SEGMENTS + 2
    assert len(list_segments(store).live) == 1
    assert collect_garbage(store, dry_run=False) == []  # a reader may have just listed them
    age(store)
    assert len(collect_garbage(store, dry_run=False)) == module.LIVE_SEGMENTS + 1
    assert read_records(store).equals(before)


def test_compaction_itself_removes_what_was_superseded_long_ago(store, record, monkeypatch):
    monkeypatch.setattr(module, "LIVE_SEGMENTS", 4)
    for _ in range(3):
        for i in range(module.LIVE_SEGMENTS + 1):
            put(store, record(f"t{i:02d}"))
        compact(store)
        age(store)
    assert len(segments(store)) < 2 * module.LIVE_SEGMENTS + 4
    assert len(ids(store)) == module.LIVE_SEGMENTS + 1


COMPACTOR = """
import sys
from pathlib import Path
from synthtrial.store import records
from synthtrial.store.artifacts import open_store
records.GRACE_SECONDS = -1.0
store = open_store(Path(sys.argv[1]))
print("ready", flush=True)
while True:
    records.seal_abandoned(store)
    records.compact(store, force=True)
"""

SEALER = """
import json, sys
from pathlib import Path
from synthtrial.store.artifacts import open_store
from synthtrial.store.records import RecordWriter
row = json.loads(sys.argv[2])
writer = RecordWriter(open_store(Path(sys.argv[1])))
for i in range(60):
    writer.append(row | {"trial_id": f"{sys.argv[3]}-{i:06d}"})
    print(i, flush=True)
    if i % 3 == 2:
        writer.seal()
"""


def test_readers_miss_nothing_while_others_write_seal_and_compact(store, record, process):
    compactors = [process(COMPACTOR, store.root) for _ in range(2)]
    for child in compactors:
        assert child.stdout.readline() == "ready\n"
    writers = [process(SEALER, store.root, json.dumps(record()), name) for name in "ab"]
    for i in range(60):
        for child in writers:
            assert child.stdout.readline() == f"{i}\n", child.stderr.read()
        if i % 5 == 0:
            found = set(ids(store))
            assert {f"{w}-{j:06d}" for w in "ab" for j in range(i + 1)} <= found
    for child in writers:
        assert child.wait(60) == 0
    for child in compactors:
        assert child.poll() is None, child.stderr.read()
        child.kill()
        child.wait()
    assert len(ids(store)) == read_records(store, every_attempt=True).num_rows == 120


def test_ten_thousand_records_are_few_files_and_one_table(store, record):
    for pack in range(40):
        rows = [record(f"t{pack:02d}{i:03d}") for i in range(250)]
        write_segment(store, f"{pack:032x}", to_table(rows))
    assert compact(store)
    assert read_records(store).num_rows == 10_000
    age(store)
    collect_garbage(store, dry_run=False)
    assert len(list((store.root / "records").rglob("*"))) < 10


def test_a_damaged_segment_is_named(store, record, alter):
    put(store, *[record(f"t{i}") for i in range(300)])
    (path,) = segments(store)
    sound = path.read_bytes()
    alter(path, 40)
    with pytest.raises(DamagedArtifactError, match=rf"{path.name} is truncated or altered"):
        read_records(store)
    path.write_bytes(sound[:-10])
    with pytest.raises(DamagedArtifactError, match=rf"{path.name} is truncated or altered"):
        read_records(store)
    (problem,) = [p for _, _, problems in verify_records(store) for p in problems]
    assert path.name in problem.message
    path.rename(store.root / path.name)
    assert ids(store) == []


def test_a_segment_of_a_newer_schema_is_refused(store, record, monkeypatch):
    monkeypatch.setattr("synthtrial.store.segments.SCHEMA", 2)
    put(store, record())
    with pytest.raises(StoreSchemaError, match="schema 2"):
        read_records(store)


def test_a_full_disk_refuses_the_record_and_spoils_nothing(mount, record):
    store = open_store(mount("size=256k") / "store")
    filler = store.root / "filler"
    appended = []

    def fill(writer):
        for i in range(1000):
            writer.append(record(f"t{i:04d}", message="m" * 300))
            appended.append(f"t{i:04d}")

    with RecordWriter(store) as writer:
        filler.write_bytes(b"x" * 180_000)
        with pytest.raises(StoreError, match=r"disk that holds .* is full"):
            fill(writer)
        assert ids(store) == appended
        filler.unlink()
        writer.append(record("z"))
    assert ids(store) == [*appended, "z"]
    assert seal_abandoned(store) == 0


def test_a_disk_too_full_to_seal_keeps_the_journal(mount, record):
    store = open_store(mount("size=256k") / "store")
    writer = RecordWriter(store)
    for i in range(20):
        writer.append(record(f"t{i:02d}"))
    filler = store.root / "filler"
    with pytest.raises(OSError, match="No space left"):
        filler.write_bytes(b"x" * 10**6)
    with pytest.raises(StoreError, match="is full"):
        writer.seal()
    filler.unlink()
    assert len(ids(store)) == 20
    assert seal_abandoned(store) == 1
    assert len(ids(store)) == 20


def test_a_read_only_store_is_read_and_refuses_writers(mount, remount_read_only, record):
    disk = mount("size=1m")
    store = open_store(disk / "store")
    put(store, record())
    remount_read_only(disk)
    assert ids(store) == ["t1"]
    with pytest.raises(StoreError, match="is read-only"):
        RecordWriter(store)


FORK = """
import os, sys, time
from pathlib import Path
from synthtrial.errors import StoreError
from synthtrial.store.artifacts import open_store
from synthtrial.store.records import RecordWriter
writer = RecordWriter(open_store(Path(sys.argv[1])))
writer.append({"trial_id": "parent", "kind": "trial", "status": "done", "attempt": 0})
if os.fork() == 0:
    try:
        writer.append({"trial_id": "child", "kind": "trial", "status": "done", "attempt": 0})
    except StoreError:
        os.write(1, b"refused\\n")
    time.sleep(60)
os.write(1, b"forked\\n")
time.sleep(60)
"""


def test_a_forked_child_neither_writes_nor_keeps_its_parents_journal(store, process):
    child = process(FORK, store.root)
    assert {child.stdout.readline() for _ in range(2)} == {"refused\n", "forked\n"}
    assert seal_abandoned(store) == 0
    child.kill()
    child.wait()
    assert seal_abandoned(store) == 1
    assert ids(store) == ["parent"]
