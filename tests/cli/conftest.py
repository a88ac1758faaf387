"""Verbs run in this process, a finished toy study, and what archives hold."""

from __future__ import annotations

import io
import tarfile

import pyarrow.parquet as pq
import pytest

from synthtrial.drive import failure_record
from synthtrial.engines.base import Outcome
from synthtrial.plan import build
from synthtrial.report.page import write_report
from synthtrial.store.artifacts import open_store
from synthtrial.store.records import RecordWriter
from synthtrial.store.verification import verify_store
from synthtrial.testing.studies import run_here

SALT = "a secret of more than sixteen bytes"


@pytest.fixture(scope="session")
def salt_file(tmp_path_factory):
    file = tmp_path_factory.mktemp("salt") / "salt.txt"
    file.write_text(SALT)
    return file


@pytest.fixture(scope="session")
def toy(tmp_path_factory, toy_study):
    """A finished toy study, and a failure on record that quotes ids."""
    study = toy_study(tmp_path_factory.mktemp("toy"))
    store = open_store(study.store_path)
    plan = run_here(study, store)
    trial = next(task for task in plan.tasks.values() if task.trial is not None)
    why = "group 'site-0003' (and 2 more) is trained on and judged on, such as 'toy-00007'"
    with RecordWriter(store) as writer:
        writer.append(failure_record(study, trial, Outcome(trial.id, "failed", why), 2))
    return study


@pytest.fixture
def exported(verb):
    """Export a study, which must work; return what was printed."""

    def export(study, out, *options):
        code, text, error = verb("export", study.words[0], out, *study.words[1:], *options)
        assert code == 0, error
        return text

    return export


@pytest.fixture
def imported(verb):
    """Import an archive into a store, which must work; return what was printed."""

    def import_(archive, place):
        code, text, error = verb("import", archive, f"store.path={place}")
        assert code == 0, error
        return text

    return import_


def _problems(store):
    return [problem for *_, found in verify_store(store) for problem in found]


@pytest.fixture
def problems():
    return _problems


def _tables(study, store, out):
    write_report(study, store, build(study, store), out)
    return {path.name: path.read_text() for path in sorted((out / "tables").glob("*.csv"))}


@pytest.fixture
def tables():
    return _tables


def _every_byte(path):
    """Return the content of an archive, Parquet unpacked, as one text."""
    parts = []
    with tarfile.open(path) as tar:
        for member in tar:
            content = tar.extractfile(member).read()
            parts += [member.name.encode(), content]
            if member.name.endswith(".parquet"):
                table = pq.read_table(io.BytesIO(content))
                parts.append(str(table.schema.metadata).encode())
                keep = [name for name in table.column_names if name != "image"]
                parts.append(table.select(keep).to_pandas().to_csv().encode())
                if "image" in table.column_names:
                    parts.append(str(table["image"].combine_chunks().field("path")).encode())
    return b"\n".join(parts)


@pytest.fixture
def every_byte():
    return _every_byte
