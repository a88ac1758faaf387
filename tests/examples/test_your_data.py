"""The files that docs/your-data.md has its readers copy, copied and used."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

PAGE = (Path(__file__).parents[2] / "docs" / "your-data.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"^```\w+\n# (\w+\.\w+)\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE))
STUDIES = sorted(name for name in FILES if name.endswith(".yaml"))
TINY = (
    "regimens=[1.0]",
    "gan_training.steps=2",
    "training.epochs=1",
    "protocol.replicates=1",
    "engine.device=cpu",
)


@pytest.fixture(scope="module")
def run(tmp_path_factory, install, python_in):
    """Run Python where the page's files are, with its plug-ins installed and its data drawn."""
    place = tmp_path_factory.mktemp("reader")
    for name, text in FILES.items():
        (place / name).write_text(text, encoding="utf-8")
    install(place, place)
    python = python_in(place)
    for name in FILES:
        if name.startswith("draw_"):
            python(name)
    write_flowers(place / "flowers" / "data")
    return python


def write_flowers(folder):
    """Write Parquet as Hugging Face ``datasets`` does; the page has no lines that draw it."""
    folder.mkdir(parents=True)
    names = {"label": {"names": ["aster", "poppy"], "_type": "ClassLabel"}}
    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    schema = pa.schema(
        [("image", image), ("label", pa.int64()), ("bed", pa.string())],
        metadata={"huggingface": json.dumps({"info": {"features": names}})},
    )
    for side, count in (("train", 96), ("test", 32)):
        rows = []
        for row in range(count):
            file = io.BytesIO()
            Image.fromarray(np.full((28, 28, 3), row, dtype=np.uint8)).save(file, "PNG")
            picture = {"bytes": file.getvalue(), "path": None}
            rows.append({"image": picture, "label": row % 4 // 3, "bed": f"{side}-{row // 4}"})
        table = pa.Table.from_pylist(rows, schema=schema)
        pq.write_table(table, folder / f"{side}-00000-of-00001.parquet")


def test_the_page_has_the_files_that_it_speaks_of():
    studies = ["bars.yaml", "findings.yaml", "flowers.yaml", "leaves.yaml", "plates.yaml"]
    assert studies == STUDIES
    assert {"pyproject.toml", "my_dataset.py", "my_generator.py", "my_metric.py"} <= set(FILES)


@pytest.mark.parametrize("study", STUDIES)
def test_a_study_of_the_page_is_planned_with_the_numbers_that_it_quotes(run, study):
    output = run("-m", "synthtrial", "plan", study)
    (line,) = [line for line in output.splitlines() if line.startswith("Data: ")]
    assert line in PAGE or study == "flowers.yaml"


@pytest.mark.parametrize("study", ["bars.yaml", "findings.yaml"])
def test_a_study_of_the_page_runs(run, study):
    output = run("-m", "synthtrial", "run", study, *TINY, "grid={learning_rate: [0.001]}")
    assert "report.html" in output


def test_groups_are_found_as_the_page_says(run):
    output = run("-m", "synthtrial", "plan", "leaves.yaml", r"dataset.group_pattern=(plant\d+)")
    (line,) = [line for line in output.splitlines() if line.startswith("Data: ")]
    assert line == "Data: 600 images of 60 groups; 160 to test on (draw 0)"
    assert line in PAGE


def test_the_plug_ins_of_the_page_keep_the_contracts(run):
    run("-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", "test_my_plugins.py")
