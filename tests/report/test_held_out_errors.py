"""From kept logits to the test set's part: scores as recorded, errors as computed by hand."""

import dataclasses

import numpy as np
import pytest

from synthtrial.classify.metrics import evaluate
from synthtrial.data.predictions import write_predictions
from synthtrial.data.regimens import held_out_rows
from synthtrial.data.splits import read_split
from synthtrial.errors import DamagedArtifactError
from synthtrial.graph import trial_task
from synthtrial.identity import canonical_json
from synthtrial.plan import build
from synthtrial.report import kept_logits
from synthtrial.report.held_out_errors import find_errors
from synthtrial.report.kept_logits import influence_on, policy_of, read_held_out, read_scores
from synthtrial.report.planned import planned_trials
from synthtrial.report.sources import gather
from synthtrial.store.artifacts import draft, open_store, read_artifact
from synthtrial.store.files import write_file
from synthtrial.store.images import read_labels
from synthtrial.store.records import read_records
from synthtrial.store.records_schema import to_table
from synthtrial.store.segments import write_segment
from synthtrial.study import load
from synthtrial.tasks import Cell
from synthtrial.work import Context, run_task

WARDS = """
name: wards
dataset: {name: toy_multi, rows: 240, uncertain: 0.2}
split: {test: 0.4, validation: 0.2}
regimens: [0.5, 1.0]
balance: {classes: [crack, dent], target: 0.4}
arms:
  none: {}
  flips: {augment: [{name: flip}]}
  gan: {synthetic: true}
generator: {name: projection, width: 8}
gan_training: {steps: 5}
classifier: {name: small_cnn}
training: {epochs: 1}
grid: {learning_rate: [0.01, 0.003]}
protocol: {draws: 2, replicates: 4, select_by: auc}
metrics: [accuracy, balanced_accuracy, recall, auc, auprc, auc_certain, auprc_certain, neg_log_loss]
statistics: {overall: accuracy, per_class: auc_certain}
engine: {device: cpu}
store: {keep_logits: true}
"""


class Ward:
    """A store whose dataset and splits are made, and whose trials are invented."""

    def __init__(self, folder, *overrides):
        path = folder / "wards.yaml"
        path.write_text(WARDS)
        self.study = load(path, [f"store.cache_path={folder / 'cache'}", *overrides])
        self.store = open_store(folder / "store", create=True)
        snapshots = self.store.root / "studies"
        snapshots.mkdir(exist_ok=True)
        write_file(snapshots / f"{self.study.digest}.yaml", self.study.snapshot().encode())
        plan = build(self.study, None)
        with Context(self.store, engine="wards", device="cpu") as context:
            for task in plan.tasks.values():
                if task.kind in ("prepare", "split"):
                    run_task(self.store, task, context)
        split = next(task for task in plan.tasks.values() if task.kind == "split")
        dataset = read_artifact(self.store, "dataset", split.payload["dataset"])
        self.labels = read_labels(dataset)
        table = read_split(read_artifact(self.store, "split", split.id))
        self.rows = held_out_rows(table, "test", self.labels)

    def logits(self, trial, seed):
        """Logits that share an error with all trials, and one with those of the same arm."""
        shape = (len(self.rows), len(self.labels.classes))
        parts = [np.random.default_rng(key).normal(size=shape) for key in (1, len(trial.arm), seed)]
        truth = self.labels.labels_NK[self.rows] == 1
        return (1.5 * truth - 1 + sum(parts)).astype(np.float32)

    def fill(self, keep=lambda trial: True, choice=lambda cell: 0):
        trials = [t for t in build(self.study, None).tasks.values() if t.kind == "trial"]
        write_segment(self.store, "grid", to_table([self._record(t) for t in trials]))
        for cell, select in build(self.study, self.store).selections.items():
            with draft(self.store, "selection", select, inputs={}) as made:
                made.info.update(configuration=dict(self.study.configurations[choice(cell)]))
        plan = build(self.study, self.store)
        fresh = [t for t in plan.tasks.values() if t.kind == "trial" and t.id not in plan.done]
        records = []
        for number, task in enumerate(fresh):
            logits = self.logits(task.trial, 1000 + number)
            targets = np.where(self.labels.labels_NK == -1, 1.0, self.labels.labels_NK == 1)
            test = evaluate(
                self.study.settings.metrics,
                logits,
                targets[self.rows],
                self.labels.classes,
                True,
                self.labels.labels_NK[self.rows] == -1,
            )
            records.append(self._record(task, test))
            if keep(task.trial):
                with draft(self.store, "predictions", task.id, inputs={}) as made:
                    ids = self.labels.sample_ids[self.rows]
                    write_predictions(made.path, "test", ids, logits, self.labels.classes)
        write_segment(self.store, "fresh", to_table(records))
        return self.gather()

    def gather(self):
        return gather(self.study, self.store, build(self.study, self.store))

    def _record(self, task, test=None):
        return {
            "trial_id": task.id,
            "kind": "trial",
            "status": "done",
            "attempt": 1,
            "study": self.study.name,
            "configuration": canonical_json(task.trial.configuration),
            "test": test,
            "code_digest": "c0de",
        }


def scores_of(ward):
    """What the kept logits say, by trial and metric, beside the records."""
    plan = build(ward.study, ward.store)
    rows = {row["trial_id"]: row["test"] for row in read_records(ward.store).to_pylist()}
    tested = [plan.tasks[id_] for id_, test in rows.items() if test is not None]
    held = read_held_out(ward.store, tested[0].payload["dataset"], tested[0].id, 0)
    for task in tested:
        scores = read_scores(ward.store, task.id, held)
        for metric, value in rows[task.id].items():
            found = influence_on(metric, scores, policy_of(task.payload), held)
            known = [value[name] for name in held.classes] if isinstance(value, dict) else [value]
            yield metric, found, known


@pytest.fixture(scope="module")
def ward(tmp_path_factory):
    made = Ward(tmp_path_factory.mktemp("ward"))
    made.facts = made.fill()
    return made


@pytest.mark.parametrize("policy", ["ones", "ignore", "smooth"])
def test_the_scores_of_kept_logits_are_those_that_a_training_recorded(tmp_path, policy):
    ward = Ward(tmp_path, f"training.label_policy={policy}")
    task = trial_task(ward.study, Cell("none", 1.0), "replicate", 0, ward.study.configurations[0])
    with Context(ward.store, engine="wards", device="cpu") as context:
        run_task(ward.store, task, context)
    # The plan knows a replicate once its configuration is chosen.
    for select in build(ward.study, ward.store).selections.values():
        with draft(ward.store, "selection", select, inputs={}) as made:
            made.info.update(configuration=dict(ward.study.configurations[0]))
    trials = [t for t in build(ward.study, ward.store).tasks.values() if t.kind == "trial"]
    grid = [ward._record(t) for t in trials if t.trial.stage == "grid"]
    write_segment(ward.store, "grid", to_table(grid))
    seen = {}
    for metric, found, known in scores_of(ward):
        exact = metric not in ("neg_log_loss", "auprc", "auprc_certain")
        seen[metric] = len(known)
        assert found.estimates_R.tolist() == (known if exact else pytest.approx(known, rel=1e-12))
        assert np.isfinite(found.sums_GR).all()
    assert seen.keys() == set(ward.study.settings.metrics)
    assert (seen["accuracy"], seen["recall"], seen["auc"]) == (1, 4, 4)


def test_the_scores_of_one_label_an_image_are_the_records_too(finished_study):
    study = load("digits", finished_study[0])
    store = open_store(study.settings.store.path, create=False)
    ward = type("Digits", (), {"study": study, "store": store})
    seen = [
        metric for metric, found, known in scores_of(ward) if found.estimates_R.tolist() == known
    ]
    assert len(seen) == 2 * 5 * 2 * 2, "accuracy and recall of arms, regimens and replicates"


def cell(table, **where):
    for column, value in where.items():
        table = table[table[column] == value]
    assert len(table) == 1
    return table.iloc[0]


def hand(ward, regimen, metric, column):
    """Influences on a metric by group, from numerical derivatives: arm by replicate."""
    plan = build(ward.study, ward.store)
    trials = [t for t in plan.tasks.values() if t.kind == "trial" and t.trial.stage == "replicate"]
    held = read_held_out(ward.store, trials[0].payload["dataset"], trials[0].id, 0)
    found = {}
    for task in trials:
        if task.trial.regimen == regimen:
            scores = read_scores(ward.store, task.id, held)
            influence = influence_on(metric, scores, "ones", held)
            place = task.trial.arm, task.trial.replicate
            found[place] = influence.sums_GR[:, column].mean(axis=1)
    return found


def test_errors_of_a_difference_are_those_of_draws_averaged_over_their_seeds(ward):
    table = ward.facts.test_errors
    rare = [ward.labels.classes.index(name) for name in ("crack", "dent")]
    by_hand = hand(ward, 1.0, "auc_certain", rare)
    draws = [
        sum(by_hand["gan", r] - by_hand["none", r] for r in (draw, draw + 2)) / 2 for draw in (0, 1)
    ]
    found = cell(table, regimen=1.0, arm="gan", baseline="none", scope="minority")
    assert (found.n, found.unit, found.metric) == (2, "draw", "auc_certain")
    whole = float((((draws[0] + draws[1]) / 2) ** 2).sum())
    assert found.standard_error == pytest.approx(np.sqrt(whole), rel=1e-5)
    assert found.shared_error == pytest.approx(np.sqrt(draws[0] @ draws[1]), rel=1e-4)
    other = cell(table, regimen=1.0, arm="none", baseline="gan", scope="minority")
    assert other.standard_error == found.standard_error


def test_of_several_draws_one_that_is_left_is_one(ward):
    """Its replicates share subset and generator: nobody knows what other draws have in common."""
    trials = ward.facts.trials.copy()
    trials.loc[trials.draw == 1, "status"] = "failed"
    facts = dataclasses.replace(ward.facts, trials=trials)
    plan = build(ward.study, ward.store)
    planned = planned_trials(plan, ward.store)
    found = find_errors(ward.store, plan, planned, facts)["test_errors"]
    assert len(found) == len(ward.facts.test_errors)
    assert (set(found.unit), set(found.n)) == ({"draw"}, {1})


def test_what_arms_have_in_common_cancels(ward):
    table = ward.facts.test_errors
    alone = table[(table.baseline == "") & (table.scope == "class")].shared_error
    apart = table[(table.baseline == "none") & (table.scope == "class")].shared_error
    assert 0 < apart.mean() < alone.mean()


def test_every_pair_and_target_is_there_with_what_it_rests_on(ward):
    table = ward.facts.test_errors
    assert ward.facts.test_errors_missing == ""
    targets = 2 + len(ward.labels.classes)
    assert len(table) == 2 * (3 + 6) * targets
    assert not table.isna().any(axis=None)
    labels = ward.labels.labels_NK[ward.rows]
    column = ward.labels.classes.index("dent")
    found = cell(table, regimen=0.5, arm="gan", baseline="none", class_name="dent")
    known = labels[:, column] != -1
    assert found["rows"] == known.sum() < len(labels)
    assert found.groups == len(set(ward.labels.group_ids[ward.rows][known])) < found["rows"]
    assert found.method == "DeLong by group"
    assert set(table[table.scope == "overall"].method) == {"influences by group"}


def test_without_kept_logits_it_says_how_to_get_them(tmp_path):
    facts = Ward(tmp_path).fill(keep=lambda trial: False)
    assert facts.test_errors.empty
    assert "store.keep_logits=true" in facts.test_errors_missing


def test_before_anything_has_finished_it_says_so(tmp_path):
    assert Ward(tmp_path).gather().test_errors_missing.startswith("No replicate is finished")


def test_logits_of_some_replicates_are_used_and_counted(tmp_path):
    facts = Ward(tmp_path).fill(keep=lambda t: t.replicate < 2 and t.arm != "flips")
    assert facts.test_errors_missing == "Logits were kept of 8 of the 24 reported replicates only."
    assert set(facts.test_errors.arm) == {"none", "gan"}
    assert set(facts.test_errors.n) == {2}


def test_where_each_class_has_its_own_training_its_error_is_that_training_s(tmp_path):
    ward = Ward(
        tmp_path,
        "protocol.select_over=per_class",
        "statistics.overall=auc_certain",
        "regimens=[1.0]",
    )
    facts = ward.fill(choice=lambda cell: int(cell.target == "dent"))
    table = facts.test_errors
    assert set(table.class_name) == {"", "crack", "dent"}
    plan = build(ward.study, ward.store)
    trials = [t for t in plan.tasks.values() if t.kind == "trial" and t.trial.stage == "replicate"]
    held = read_held_out(ward.store, trials[0].payload["dataset"], trials[0].id, 0)
    chosen = {"crack": 0.01, "dent": 0.003}
    by_class = {}
    for name, rate in chosen.items():
        mine = [
            t
            for t in trials
            if t.trial.arm == "none" and t.trial.configuration["learning_rate"] == rate
        ]
        assert len(mine) == 4
        sums = [
            influence_on("auc_certain", read_scores(ward.store, t.id, held), "ones", held)
            for t in mine
        ]
        column = held.classes.index(name)
        by_class[name] = np.mean([item.sums_GR[:, column] for item in sums], axis=0)
        found = cell(table, arm="none", baseline="", class_name=name)
        assert found.standard_error == pytest.approx(np.linalg.norm(by_class[name]), rel=1e-5)
    both = np.linalg.norm((by_class["crack"] + by_class["dent"]) / 2)
    for scope in ("minority", "overall"):
        found = cell(table, arm="none", baseline="", scope=scope)
        assert found.standard_error == pytest.approx(both, rel=1e-5)


def test_a_metric_of_somebody_else_s_is_resampled(ward, monkeypatch):
    """An area under the curve that is not known for one: DeLong and resampling must agree."""
    known = ward.facts.test_errors
    monkeypatch.setattr(kept_logits, "is_known", lambda name: name == "accuracy")
    table = ward.gather().test_errors
    assert set(table[table.scope == "class"].method) == {"bootstrap by group, 200 resamples"}
    both = known.merge(table, on=["regimen", "arm", "baseline", "scope", "class_name"])
    both = both[(both.scope == "class") & (both.baseline != "")]
    ratio = both.standard_error_y / both.standard_error_x
    assert ratio.mean() == pytest.approx(1, abs=0.1)
    assert ratio.std() < 0.15
    again = ward.gather().test_errors
    assert again.equals(table), "drawn the same every time"


def test_what_would_take_too_long_is_left_out_and_named(ward, monkeypatch):
    monkeypatch.setattr(kept_logits, "is_known", lambda name: name == "accuracy")
    monkeypatch.setattr(kept_logits, "_BUDGET", 1000)
    facts = ward.gather()
    assert set(facts.test_errors.scope) == {"overall"}
    assert "error of auc_certain would take too long" in facts.test_errors_missing


def test_logits_of_other_images_are_damage(tmp_path):
    ward = Ward(tmp_path)
    ward.fill(keep=lambda trial: trial.replicate > 0)
    plan = build(ward.study, ward.store)
    odd = next(t for t in plan.tasks.values() if t.kind == "trial" and t.trial.replicate == 0)
    with draft(ward.store, "predictions", odd.id, inputs={}) as made:
        ids, few = ward.labels.sample_ids[ward.rows[:5]], np.zeros((5, 4), dtype=np.float32)
        write_predictions(made.path, "test", ids, few, ward.labels.classes)
    with pytest.raises(DamagedArtifactError, match="other test images"):
        ward.gather()
