"""Finished studies in real stores, through the verb: what is refused, and what is said."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from synthtrial.report.compare import compare, open_side
from synthtrial.report.facts import TIMES
from synthtrial.store.artifacts import open_store
from synthtrial.store.records import read_records
from synthtrial.store.segments import segment_folder, write_segment


@pytest.fixture(scope="session")
def one(ran):
    return ran()


@pytest.fixture(scope="session")
def longer(ran):
    return ran("gan_training.steps=6")


def recoded(store, folder, digest):
    """Copy a store as if its trials had been run by another version of the code."""
    shutil.copytree(store, folder)
    copy = open_store(folder)
    table = read_records(copy, every_attempt=True)
    place = table.column_names.index("code_digest")
    table = table.set_column(place, "code_digest", [[digest] * table.num_rows])
    for path in segment_folder(copy).iterdir():
        path.unlink()
    write_segment(copy, "changed", table)
    return folder


def test_a_setting_of_the_generator_touches_its_arm_alone(one, longer):
    found = compare(open_side(f"toy@{one}", "A"), open_side(f"toy@{longer}", "B"))
    setting = {item.key: item for item in found.settings}
    assert (setting["gan_training.steps"].a, setting["gan_training.steps"].b) == ("2", "6")
    assert setting["gan_training.steps"].touches == "trial ids"
    assert setting["store.path"].touches == "neither"
    assert found.test_set.images > 0
    scores = found.scores
    assert set(scores.method) == {"paired"}
    assert (scores[scores.arm == "none"].equal == 4).all()
    assert (scores[scores.arm == "none"].difference == 0).all()
    assert found.both == 2 + 4  # the grid and the replicates of the arm without images
    assert found.changed == ()


def test_two_versions_of_the_code_are_told_apart(one, tmp_path, verb):
    other = recoded(one, tmp_path / "other", "0123456789abcdef0123")
    code, out, _ = verb("compare", f"toy@{one}", f"toy@{other}")
    assert code == 0
    assert "All 12 trials that both ran (equal ids) have identical results, to the last bit." in out
    assert "Every score is the same in A and B." in out
    assert "0123456789abcdef0123" in out


def test_bits_that_differ_are_counted(one, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(one, other)
    store = open_store(other)
    rows = read_records(store, every_attempt=True)
    changed = rows.to_pylist()[0]
    from synthtrial.store.records_schema import to_table

    changed["validation"]["accuracy"] += 1e-16 + abs(changed["validation"]["accuracy"]) * 1e-15
    rest = rows.slice(1)
    for path in segment_folder(store).iterdir():
        path.unlink()
    write_segment(store, "rest", rest)
    write_segment(store, "changed", to_table([changed]))
    found = compare(open_side(f"toy@{one}", "A"), open_side(f"toy@{other}", "B"))
    assert found.both == 12
    assert found.changed == (changed["trial_id"],)


def test_the_same_store_twice_says_what_to_do(one, tmp_path, verb):
    code, _, err = verb("compare", f"toy@{one}", f"toy@{one}")
    assert code == 2
    assert "A and B are the same" in err
    mixed = tmp_path / "mixed"
    shutil.copytree(one, mixed)
    store = open_store(mixed)
    table = read_records(store, every_attempt=True)
    half = recoded(one, tmp_path / "half", "feedfeedfeedfeedfeed")
    other = read_records(open_store(half), every_attempt=True)
    for path in segment_folder(store).iterdir():
        path.unlink()
    write_segment(store, "old", table.slice(0, 6))
    write_segment(store, "new", other.slice(6))
    code, _, err = verb("compare", f"toy@{mixed}", f"toy@{mixed}")
    assert code == 2
    assert "2 versions of the code" in err
    assert "`synthtrial compare toy@OLD toy@NEW`" in err


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("seed=1", "only in A (such as 'toy-"),
        ("split.test=0.35", "only in B"),
        ("dataset.seed=7", "the test sets differ"),
    ],
)
def test_other_test_sets_are_refused(one, ran, verb, override, words):
    code, out, err = verb("compare", f"toy@{one}", f"toy@{ran(override)}")
    assert code == 1
    assert out == ""
    assert words in err
    assert "the test sets differ" in err


def test_labels_and_pixels_are_compared_one_by_one(one, ran):
    """Datasets of other content, each with the ids of the other."""
    from synthtrial.errors import DataError
    from synthtrial.report.compare import tested as compared

    a = open_side(f"toy@{one}", "A")
    b = open_side(f"toy@{ran('dataset.size=16')}", "B")
    tested = compared.same_test_set(a, b)
    assert tested.how.endswith("by id, with the same labels")
    assert f"8 {TIMES} 8" in tested.note
    assert f"16 {TIMES} 16" in tested.note
    other = open_side(f"toy@{ran('dataset.seed=7')}", "B")
    datasets = [compared._dataset(side, compared._split(side)) for side in (a, other)]
    labels = [compared._labels(side, d) for side, d in zip((a, other), datasets, strict=True)]
    ids = set(labels[0].sample_ids)
    with pytest.raises(DataError, match="other labels in B, such as 'toy-"):
        compared._check_labels(ids, *labels)
    with pytest.raises(DataError, match="200 of 200 images have other pixels in B"):
        compared._check_pixels(ids, *datasets)
    compared._check_labels(ids, labels[0], labels[0])
    compared._check_pixels(ids, datasets[0], datasets[0])


def test_other_classes_are_refused_first(one, ran, verb):
    other = ran(
        "dataset={name: toy_multi, rows: 300}",
        "imbalance={classes: [rust], remove: 0.2}",
        "balance={classes: [rust], target: 0.6}",
        "statistics.minority=[rust]",
    )
    code, _, err = verb("compare", f"toy@{one}", f"toy@{other}")
    assert code == 1
    assert "only one of the datasets has the classes ant, ash, crack, dent, moth, rust" in err


def test_another_order_of_rows_is_the_same_test_set(one, ran):
    """The artifacts have other ids and bytes; what was tested on is the same."""
    a, b = open_side(f"toy@{one}", "A"), open_side(f"toy@{ran('dataset.row_order=3')}", "B")
    found = compare(a, b)
    assert found.test_set.how.endswith("by id, label and pixels")
    assert found.test_set.note == ""
    setting = {item.key: item.touches for item in found.settings}
    assert setting["dataset.row_order"] == "trial ids"


def test_what_a_setting_touches_is_tried(one, ran):
    from synthtrial.report.compare.settings import differences

    mine = open_side(f"toy@{one}", "A").study
    other = mine.replace(
        [
            "training.epochs=3",
            "protocol.replicates=6",
            "statistics.confidence=0.9",
            "grid={learning_rate: [0.01], batch_size: [32]}",
            "arms.class_weights={}",
            "engine.workers=1",
            "generator.width=4",
            "generator.name=concat",
        ]
    )
    assert {item.key: item.touches for item in differences(mine, other)} == {
        "training.epochs": "trial ids",
        "protocol.replicates": "which trials",
        "statistics.confidence": "neither",
        "grid.learning_rate": "which trials",
        "arms.class_weights": "which trials",
        "engine.workers": "neither",
        "generator.name": "trial ids",
        "generator.width": "trial ids",
    }
    assert differences(mine, mine) == ()


def test_page_tables_and_json_say_the_same(one, longer, tmp_path, verb):
    code, out, _ = verb("compare", f"toy@{one}", f"toy@{longer}", "--out", tmp_path / "out")
    assert code == 0
    page = (tmp_path / "out" / "comparison.html").read_text()
    assert str(tmp_path / "out" / "comparison.html") in out
    for word in ("gan_training.steps", "Gain over none", "pairs of draws", "one dataset"):
        assert word in page
    assert "http" not in page.split("</style>")[1]
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {
        *("comparison.html", "comparison.json"),
        *("scores.csv", "gains.csv", "settings.csv", "origins.csv"),
    }
    code, printed, _ = verb("compare", f"toy@{one}", f"toy@{longer}", "--json")
    assert code == 0
    assert json.loads(printed) == json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert {row["arm"] for row in json.loads(printed)["scores"]} == {"none", "gan"}


def test_a_side_without_results_says_why(one, tmp_path, verb, toy_study):
    code, _, err = verb("compare", f"toy@{tmp_path / 'nothing'}", f"toy@{one}")
    assert code == 1
    assert "there is no store" in err
    code, _, err = verb("compare", f"digits@{one}", f"toy@{one}")
    assert code == 1
    assert "has no results of digits; studies that ran there: toy" in err
    file = Path(toy_study(tmp_path).words[0])
    code, _, err = verb("compare", f"{file}@{one}", f"toy@{one}", "training.epochs=9")
    assert code == 1
    assert "12 records of toy, and none" in err


def test_a_store_may_have_any_name(one, tmp_path):
    place = tmp_path / "me@host"
    shutil.copytree(one, place)
    assert open_side(f"toy@{place}", "A").store.root == place
    file = tmp_path / "a@b.yaml"
    shutil.copy(next((one / "studies").glob("*.yaml")), file)
    assert open_side(str(file), "A").store.root == one


def test_a_snapshot_is_found_by_its_digest(one):
    name = open_side(f"toy@{one}", "A").study.digest
    (path,) = (one / "studies").glob("*.yaml")
    assert open_side(f"{path.stem[:8]}@{one}", "A").study.digest == name
