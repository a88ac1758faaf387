"""Filtered arms, doses and quality, on artifacts made by the real tasks."""

import numpy as np
import pytest

from synthtrial.errors import DataError, LeakageError
from synthtrial.graph import trial_task
from synthtrial.plan import build
from synthtrial.store.artifacts import open_store, read_artifact
from synthtrial.store.images import read_labels
from synthtrial.store.records import read_records
from synthtrial.study import load
from synthtrial.synthesis.filtering import read_kept
from synthtrial.tasks import Cell
from synthtrial.testing.studies import run_here
from synthtrial.work import Context
from synthtrial.work.images import made_images

STUDY = """
name: judged
dataset: {name: digits}
imbalance: {classes: [8, 9], remove: 0.85}
regimens: [1.0]
balance: {classes: [8, 9], count: 12}
arms:
  none: {}
  plain: {synthetic: true}
  big: {synthetic: true, filter: {candidates: 3, on_shortfall: fill}}
  small: {synthetic: true, dose_of: big, balance: {count: 5}}
  matched: {repeat: small}
generator: {name: projection, width: 8, latent: 8}
gan_training: {steps: 5, global_batch: 8}
classifier: {name: small_cnn, width: 8}
training: {epochs: 2, learning_rate: 0.005}
quality: {features: reference}
protocol: {draws: 1, replicates: 1}
"""


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    """A study whose every task has run, once for the tests that only look."""
    folder = tmp_path_factory.mktemp("judged")
    return Bench(folder).run()


class Bench:
    def __init__(self, folder, *overrides):
        path = folder / "study.yaml"
        path.write_text(STUDY)
        places = [f"store.path={folder / 'store'}", f"store.cache_path={folder / 'cache'}"]
        self.study = load(path, [*places, *overrides])
        self.store = open_store(folder / "store")

    def run(self):
        self.plan = run_here(self.study, self.store)
        return self

    def treatment(self, arm):
        cell, point = Cell(arm, 1.0), self.study.configurations[0]
        return trial_task(self.study, cell, "grid", -1, point).payload["treatment"]

    def images(self, arm):
        with Context(self.store, engine="none", device="cpu") as context:
            found = made_images(self.treatment(arm), context, self.study)
            return found.arrays.labels.sample_ids[found.rows]


def test_a_pool_holds_so_many_candidates_for_each_wanted_image(bench):
    pool = read_artifact(bench.store, "synthetic", bench.treatment("big")["synthetic"])
    labels = read_labels(pool)
    assert len(labels) == pool.info["images"] == 3 * 24
    wanted = labels.intended[:24].tolist()
    assert labels.intended.tolist() == wanted * 3
    assert len(set(labels.sample_ids)) == 72


def test_the_first_round_of_a_pool_are_the_images_of_the_plain_arm(bench):
    treatments = [bench.treatment(arm)["synthetic"] for arm in ("plain", "big")]
    assert treatments[0] != treatments[1]
    with Context(bench.store, engine="none", device="cpu") as context:
        plain, pool = (context.images("synthetic", id_, bench.study) for id_ in treatments)
    np.testing.assert_array_equal(plain.images_NCHW, pool.images_NCHW[:24])


def test_a_filter_keeps_what_its_manifest_says(bench):
    kept = read_artifact(bench.store, "filtered", bench.treatment("big")["kept"])
    rows, intended = read_kept(kept)
    assert (np.diff(rows) > 0).all()
    for name in ("8", "9"):
        facts = kept.info["classes"][name]
        assert facts["candidates"] == 36
        assert facts["wanted"] == facts["kept"] == (intended == name).sum() == 12
        assert facts["filled"] == max(0, 12 - facts["accepted"])


def test_a_dose_takes_the_first_of_its_pool(bench):
    big, small = bench.images("big").tolist(), bench.images("small").tolist()
    assert len(small) == 10
    assert set(small) < set(big)
    rows, intended = read_kept(
        read_artifact(bench.store, "filtered", bench.treatment("big")["kept"])
    )
    firsts = sorted(r for name in ("8", "9") for r in rows[intended == name][:5])
    pool = read_labels(read_artifact(bench.store, "synthetic", bench.treatment("big")["synthetic"]))
    assert small == pool.sample_ids[firsts].tolist()


def test_trials_are_given_as_many_images_as_their_arm_says(bench):
    table = read_records(bench.store)
    added = dict(zip(table["arm"].to_pylist(), table["n_added"].to_pylist(), strict=True))
    assert added == {"none": 0, "plain": 24, "big": 24, "small": 10, "matched": 10}


def test_the_judge_is_part_of_a_filtered_trial_and_of_no_other(bench):
    other = bench.study.replace(["reference.training.epochs=3"])
    for arm, same in (("plain", True), ("none", True), ("big", False), ("small", False)):
        cell, point = Cell(arm, 1.0), bench.study.configurations[0]
        ids = [trial_task(study, cell, "grid", -1, point).id for study in (bench.study, other)]
        assert (ids[0] == ids[1]) is same, arm


def test_quality_is_measured_for_every_arm_that_adds_images(bench):
    measured = [task for task in bench.plan.tasks.values() if task.kind == "assess"]
    assert len(measured) == 3
    for task in measured:
        info = read_artifact(bench.store, "quality", task.id).info
        assert set(info["classes"]) == {"8", "9"}
        assert info["seconds"] > 0
        assert info["device"].startswith(("cpu", "cuda"))
        assert (info["threads"], info["processes"]) == (1, 1)
        quality = info["classes"]["8"]
        assert quality["n_heldout"] > 10
        assert quality["n_made"] == (5 if "small" in task.label else 12)
        assert 0 <= quality["recognisability"] <= 1
        assert "Frechet" in quality["undefined"]["frechet_distance"]


def test_limits_that_are_missed_keep_trials_from_running(bench, tmp_path):
    strict = Bench(tmp_path, "quality.on_shortfall=refuse", "quality.min_recognisability=1000")
    with pytest.raises(DataError, match=r"arm '(plain|big|small)' are not good enough: class '8'"):
        strict.run()
    done = {task.kind for id_, task in build(strict.study, strict.store).tasks.items()}
    assert "assess" in done
    arms = set(read_records(strict.store)["arm"].to_pylist())
    assert arms <= {"none", "matched"}


def test_too_few_accepted_images_end_in_an_error_that_says_so(tmp_path):
    strict = Bench(tmp_path, "arms.big.filter.on_shortfall=refuse", "arms.big.filter.candidates=1")
    with pytest.raises(DataError, match="reference classifier accepts too few made images"):
        strict.run()


def test_a_judge_that_saw_more_than_the_trial_is_stamped(tmp_path):
    bench = Bench(tmp_path, "regimens=[0.5]", "reference.fit_on=train").run()
    table = read_records(bench.store)
    stamps = dict(zip(table["arm"].to_pylist(), table["stamps"].to_pylist(), strict=True))
    assert "PRIVILEGED" in stamps["big"]
    assert "PRIVILEGED" in stamps["small"]
    assert "PRIVILEGED" not in stamps["plain"]


def test_images_of_a_generator_that_saw_all_rows_are_measured_against_these(tmp_path):
    bench = Bench(
        tmp_path, "gan_training.fit_on=original", "reference.fit_on=original", "regimens=[0.5]"
    ).run()
    task = next(task for task in bench.plan.tasks.values() if task.kind == "assess")
    info = read_artifact(bench.store, "quality", task.id).info
    assert info["classes"]["8"]["n_training"] > 100  # 85 % of the eights are in no training set


def test_images_from_elsewhere_are_filtered_dosed_and_measured_too(tmp_path):
    bench = external(tmp_path, "generator.lineage=independent").run()
    table = read_records(bench.store)
    added = dict(zip(table["arm"].to_pylist(), table["n_added"].to_pylist(), strict=True))
    assert added == {"none": 0, "plain": 24, "big": 24, "small": 10, "matched": 10}
    stamps = dict(zip(table["arm"].to_pylist(), table["stamps"].to_pylist(), strict=True))
    assert "LEAKY" not in stamps["big"]
    kinds = {task.kind for task in bench.plan.tasks.values()}
    assert "train_gan" not in kinds
    assert "assess" in kinds


def test_images_of_unknown_origin_are_refused_or_stamped(tmp_path):
    with pytest.raises(LeakageError, match="nobody knows what"):
        external(tmp_path / "refused").run()
    bench = external(tmp_path / "allowed", "allow_leakage=true").run()
    table = read_records(bench.store)
    stamps = dict(zip(table["arm"].to_pylist(), table["stamps"].to_pylist(), strict=True))
    assert "LEAKY" in stamps["plain"]
    assert "LEAKY" not in stamps["none"]


def external(folder, *overrides):
    """The same study with images of eights and nines from a folder."""
    from PIL import Image

    folder.mkdir(exist_ok=True)
    random, lines = np.random.default_rng(0), ["path,class"]
    for number in range(100):
        path = folder / f"{number}.png"
        Image.fromarray(random.integers(0, 256, (8, 8), dtype=np.uint8)).save(path)
        lines.append(f"{path.name},{8 + number % 2}")
    (folder / "table.csv").write_text("\n".join(lines))
    generator = f"{{name: external, table: {folder / 'table.csv'}, label_column: class}}"
    return Bench(
        folder,
        f"generator={generator}",
        "gan_training.fit_on=external",
        *overrides,
    )
