from __future__ import annotations


def test_the_store_is_light(process):
    code = """
import sys
import synthtrial.store.cache, synthtrial.store.maintenance, synthtrial.store.attempts
heavy = {"torch", "pandas", "scipy", "sklearn", "ray", "submitit", "PIL", "matplotlib"}
print(sorted(heavy & set(sys.modules)))
"""
    assert process(code).communicate()[0] == "[]\n"


def test_records_are_written_read_and_compacted_without_pandas(store, process):
    code = """
import sys
from pathlib import Path
from synthtrial.store.artifacts import open_store
from synthtrial.store.records import RecordWriter, compact, read_records
store = open_store(Path(sys.argv[1]))
for status in ("failed", "done"):
    with RecordWriter(store) as writer:
        for i in range(3):
            scores = {"recall": {status: 0.5, "x": None}}
            row = {"trial_id": str(i), "kind": "trial", "status": status, "attempt": 0}
            writer.append(row | {"validation": scores})
        read_records(store)
compact(store, force=True)
print(read_records(store).column("status").to_pylist(), "pandas" in sys.modules)
"""
    assert process(code, store.root).communicate()[0] == "['done', 'done', 'done'] False\n"
