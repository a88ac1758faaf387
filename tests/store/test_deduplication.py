"""Which rows count, beside a plain implementation with dicts; and that nothing else is read."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synthtrial.store import maintenance
from synthtrial.store import records as module
from synthtrial.store import segments as segments_module
from synthtrial.store.deduplication import counting_rows, select_rows
from synthtrial.store.maintenance import collect_garbage
from synthtrial.store.records import RecordWriter, compact, read_records
from synthtrial.store.records_schema import COLUMNS, METRIC_COLUMNS, STATUSES, merge, to_table
from synthtrial.store.segments import list_segments, segment_folder, write_segment

TIMES = (None, "2026-01-01T00:00:00+00:00", "2026-01-01T00:00:01+00:00")
ROWS = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", "ab", "é", "trial with a long name", "trial with a long nama"]),
        st.sampled_from(STATUSES),
        st.integers(0, 2),
        st.sampled_from(TIMES),
    ),
    min_size=1,
    max_size=40,
)
RECORDS = 50_000


def row_of(trial_id, status, attempt, started_at, **more):
    plain = {"trial_id": trial_id, "kind": "trial", "status": status, "attempt": attempt}
    return plain | {"started_at": started_at, **more}


def rank(row):
    """The order of what counts: success, then the first try; a time that is not known is last."""
    at = row["started_at"]
    return STATUSES.index(row["status"]), row["attempt"], at is None, at or ""


def best_of(rows):
    """One row a trial, by a dict."""
    found = {}
    for row in rows:
        known = found.get(row["trial_id"])
        if known is None or rank(row) < rank(known):
            found[row["trial_id"]] = row
    return [found[name] for name in sorted(found, key=str.encode)]


def every_of(rows):
    """All rows but those alike, sorted."""
    alike = {}
    for row in rows:
        status, attempt, *at = rank(row)
        alike.setdefault((row["trial_id"].encode(), attempt, status, *at), row)
    return [alike[key] for key in sorted(alike)]


def numbers(table, every_attempt):
    return select_rows(table, counting_rows(table, every_attempt=every_attempt))["steps"]


@given(ROWS)
def test_the_rows_that_count_are_those_of_a_dict(rows):
    plain = [row_of(*row, steps=number) for number, row in enumerate(rows)]
    table = to_table(plain)
    for every_attempt, wanted in ((False, best_of(plain)), (True, every_of(plain))):
        found = numbers(table, every_attempt).to_pylist()
        assert found == [row["steps"] for row in wanted]


@given(ROWS)
def test_sorted_rows_and_rows_in_any_order_give_the_same(rows):
    plain = [row_of(*row, steps=number) for number, row in enumerate(rows)]
    table = to_table(plain)
    ordered = select_rows(table, counting_rows(table, every_attempt=True))
    again = counting_rows(ordered, every_attempt=True)
    assert again is None or again.tolist() == list(range(ordered.num_rows))
    assert numbers(ordered, False).equals(numbers(table, False))


def test_a_sorted_table_without_repeats_is_left_alone():
    table = to_table([row_of(f"t{i:03d}", "done", 0, None) for i in range(100)])
    assert counting_rows(table, every_attempt=False) is None
    assert select_rows(table, None) is table
    assert counting_rows(table.slice(0, 0), every_attempt=False) is None


@pytest.fixture(scope="module")
def many():
    """Fifty thousand records of two studies, a fifth of them tried again, in no order."""
    random = np.random.default_rng(0)
    rows = []
    for number in random.permutation(RECORDS):
        trial = int(number) % (4 * RECORDS // 5)
        status = STATUSES[int(random.choice(4, p=[0.7, 0.1, 0.1, 0.1]))]
        row = row_of(
            f"{trial * 7919 % 65536:04x}-{trial}", status, int(random.integers(3)), TIMES[1]
        )
        if status == "done":
            value = round(float(random.random()), 6)
            row["validation"] = {"accuracy": value, "recall": {"0": value, "1": 1 - value}}
            row["test"] = {"auc": {"cat": value}} if trial % 5 == 0 else row["validation"]
        rows.append(row | {"steps": int(number), "seconds": 1.5, "stamps": ["LEAKY"]})
    return rows


@pytest.fixture
def full(store, many):
    """A store with them in fifty segments, and a few more in an open journal."""
    for place, part in enumerate(np.array_split(np.arange(RECORDS), 50)):
        write_segment(store, f"{place:032x}", to_table([many[i] for i in part]))
    return store


def test_fifty_thousand_records_are_deduplicated_before_and_after_compaction(full, many):
    wanted = [row["steps"] for row in best_of(many)]
    before = read_records(full)
    assert before["steps"].to_pylist() == wanted
    every = read_records(full, every_attempt=True)
    assert compact(full)
    assert len(list_segments(full).live) == 1
    assert read_records(full).equals(before)
    assert read_records(full, every_attempt=True).equals(every)


def test_columns_and_trials_can_be_asked_for(full, many):
    with RecordWriter(full) as writer:
        writer.append(many[0] | {"trial_id": "new", "test": {"recall": {"0": 0.5, "1": None}}})
        for _ in range(2):  # before and after compaction
            whole = read_records(full)
            plain = ["steps", "stamps", "trial_id"]
            assert read_records(full, columns=plain).equals(whole.select(plain))
            nested = read_records(full, columns=["status", "test.recall", "validation.nothing"])
            assert nested["status"].equals(whole["status"])
            assert [field.name for field in nested.schema.field("test").type] == ["recall"]
            recall = [row and {"recall": row["recall"]} for row in whole["test"].to_pylist()]
            assert nested["test"].to_pylist() == recall
            assert set(nested["validation"].to_pylist()) == {None}
            some = {many[1]["trial_id"], many[2]["trial_id"], "new", "never was"}
            few = read_records(full, trial_ids=some, columns=["trial_id", "steps"])
            rows = whole.select(["trial_id", "steps"]).to_pylist()
            assert few.to_pylist() == [row for row in rows if row["trial_id"] in some]
            assert read_records(full, trial_ids=[]).num_rows == 0
            compact(full, force=True)


def test_a_few_trials_are_found_without_reading_the_rest(full, many, monkeypatch):
    monkeypatch.setattr(segments_module, "ROWS_PER_GROUP", 500)
    assert compact(full)
    read = []
    real = module.read_segment

    def counted(*arguments):
        read.append(real(*arguments))
        return read[-1]

    monkeypatch.setattr(module, "read_segment", counted)
    wanted = many[7]["trial_id"]
    assert read_records(full, trial_ids=[wanted])["trial_id"].to_pylist() == [wanted]
    assert 0 < sum(table.num_rows for table in read) <= 1000
    read.clear()
    read_records(full, columns=["status"])
    assert set(read[0].column_names) == {"trial_id", "attempt", "status", "started_at"}


def test_a_part_of_the_columns_is_merged_as_the_whole_is():
    tables = [
        to_table([row_of("a", "done", 0, None, test={"recall": 0.5, "auc": {"x": 1.0}})]),
        to_table([row_of("b", "done", 0, None, test={"recall": {"0": 0.25}})]),
        to_table([row_of("c", "failed", 0, None)]),
    ]
    whole = merge(tables)
    assert whole.column_names == list(COLUMNS)
    for columns in (list(COLUMNS), ["steps", "test"], ["test.recall"], ["made.recall"]):
        part = merge(tables, columns)
        for name in part.column_names:
            if name in columns:
                assert part[name].equals(whole[name])
    assert merge(tables, ["test.recall"])["test"].to_pylist() == [
        {"recall": {"0": None, "overall": 0.5}},
        {"recall": {"0": 0.25, "overall": None}},
        None,
    ]
    assert set(METRIC_COLUMNS) <= set(COLUMNS)


@pytest.mark.parametrize("records", [400, 1600])
def test_files_stay_few_whatever_the_number_of_records(store, monkeypatch, records):
    monkeypatch.setattr(module, "ROWS_PER_JOURNAL", 10)
    monkeypatch.setattr(module, "LIVE_SEGMENTS", 4)
    for place in (module, maintenance):
        monkeypatch.setattr(place, "GRACE_SECONDS", -1.0)
    monkeypatch.setattr("os.fsync", lambda _: None)
    monkeypatch.setattr("synthtrial.store.journal._sync", lambda _: None)
    most = 0
    for number in range(records // 40):  # workers that come and go
        with RecordWriter(store) as writer:
            for i in range(40):
                writer.append(row_of(f"t{number}-{i}", "done", 0, TIMES[1]))
        compact(store)
        most = max(most, len(list(segment_folder(store).iterdir())))
    assert most <= 3 * (module.LIVE_SEGMENTS + 4)
    assert read_records(store, columns=["status"]).num_rows == records
    compact(store, force=True)
    collect_garbage(store, dry_run=False)
    assert len(list((store.root / "records").rglob("*.parquet"))) <= 2
