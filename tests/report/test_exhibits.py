"""Pictures of made images show what an arm adds, and no others."""

import json

import numpy as np
from PIL import Image

from synthtrial.plan import build
from synthtrial.store.artifacts import draft, open_store, read_artifact
from synthtrial.store.files import write_file
from synthtrial.store.images import ImageRow, write_shard
from synthtrial.study import load
from synthtrial.synthesis.balance import read_allocation
from synthtrial.synthesis.filtering import write_kept
from synthtrial.tasks import ARTIFACT_KINDS
from synthtrial.work import Context, run_task

ARMS = (
    "arms={none: {}, gan: {synthetic: true}, "
    "big: {synthetic: true, balance: {count: 3}, filter: {candidates: 2}}, "
    "small: {synthetic: true, balance: {count: 1}, dose_of: big}}"
)
CLASSES = tuple("0123456789")
KEPT = [2, 3, 4, 5, 8, 9]  # of candidates made for 8, 9, 8, 9, ...


def of_kind(plan, kind):
    return [task for task in plan.tasks.values() if task.kind == kind]


def make(context, task):
    """Commit an artifact: real ones but for images, whose every pixel is their number."""
    if task.kind in {"prepare", "split", "allocate"}:
        run_task(context.store, task, context)
        return
    with draft(context.store, ARTIFACT_KINDS[task.kind], task.id, inputs={}) as made:
        if task.kind == "synthesize":
            allocation = context.artifact("allocation", task.payload["allocation"])
            intended = read_allocation(allocation).intended
            names = [str(name) for name in intended] * task.payload.get("candidates", 1)
            write_shard(made.path / "shard-00000.parquet", rows(names), CLASSES, synthetic=True)
        else:
            names = np.array(["8", "9"] * 6, dtype=object)
            ids = np.array([f"m-{number}" for number in range(12)], dtype=object)
            write_kept(made.path, ids, names, np.array(KEPT))


def rows(names):
    for number, name in enumerate(names):
        image = np.full((8, 8, 1), number, dtype=np.uint8)
        labels = {c: int(c == name) for c in CLASSES}
        yield ImageRow(f"m-{number}", None, image, labels, name, "g", number, None)


def numbers(artifact):
    """Return the numbers of the images shown, by arm and class."""
    found = {}
    for item in json.loads((artifact.path / "exhibits.json").read_text())["pictures"]:
        if item["role"] == "synthetic":
            with Image.open(artifact.file(item["file"])) as strip:
                shown = sorted(set(np.asarray(strip)[0].tolist()))
            found[item["arm"], item["class"]] = shown
    return found


def test_pictures_of_a_filtered_arm_and_of_a_dose_are_of_what_they_add(tmp_path):
    places = [f"store.path={tmp_path / 'store'}", f"store.cache_path={tmp_path / 'cache'}"]
    study = load("digits", [ARMS, "regimens=[1.0]", "protocol.draws=1", *places])
    store, plan = open_store(tmp_path / "store"), build(study, None)
    (store.root / "studies").mkdir()
    snapshot = store.root / "studies" / f"{study.digest}.yaml"
    write_file(snapshot, study.snapshot().encode())
    (task,) = of_kind(plan, "exhibits")
    with Context(store, engine="test", device="cpu") as context:
        for kind in ("prepare", "split", "allocate", "synthesize", "filter"):
            for need in of_kind(plan, kind):
                make(context, need)
        run_task(store, task, context)
    shown = numbers(read_artifact(store, "exhibits", task.id))
    assert (shown["big", "8"], shown["big", "9"]) == ([2, 4, 8], [3, 5, 9])
    assert (shown["small", "8"], shown["small", "9"]) == ([2], [3]), "the first that were kept"
    assert len(shown["gan", "8"]) == 12


def test_a_filter_and_a_dose_are_part_of_what_is_asked_for(tmp_path):
    (task,) = of_kind(build(load("digits", [ARMS, "regimens=[1.0]"]), None), "exhibits")
    strips = {item["arm"]: item for item in task.payload["synthetic"]}
    assert set(strips["gan"]) == {"arm", "regimen", "id"}
    assert set(strips["big"]) == {"arm", "regimen", "id", "kept"}
    assert set(strips["small"]) == {"arm", "regimen", "id", "kept", "dose"}
    assert {strips["small"]["kept"], strips["small"]["dose"]} <= set(task.needs)


def test_the_id_of_pictures_without_a_filter_is_pinned():
    (task,) = of_kind(build(load("digits"), None), "exhibits")
    assert task.id == "3ff14e1439d1f26df9f7"
