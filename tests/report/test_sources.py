"""From the store to plain facts, on a real finished study and on fabricated records."""

import dataclasses
import json
import typing
from pathlib import Path

import numpy as np
import pytest

from synthtrial.data.splits import read_split
from synthtrial.errors import ConfigError, DamagedArtifactError
from synthtrial.identity import canonical_json
from synthtrial.plan import build
from synthtrial.report import tables
from synthtrial.report.description import describe
from synthtrial.report.sources import gather
from synthtrial.store.artifacts import draft, open_store, read_artifact
from synthtrial.store.records import RecordWriter, read_records
from synthtrial.store.records_schema import to_table
from synthtrial.store.segments import write_segment
from synthtrial.study import load
from synthtrial.synthesis.balance import read_allocation

FAST = (
    "regimens=[0.5,1.0]",
    "grid={learning_rate: [0.01, 0.001]}",
    "protocol.draws=2",
    "protocol.replicates=4",
)


@pytest.fixture(scope="module")
def finished(finished_study):
    overrides, _ = finished_study
    study = load("digits", overrides)
    store = open_store(Path(study.settings.store.path), create=False)
    plan = build(study, store)
    return study, store, plan, gather(study, store, plan)


def record(trial, study, **changes):
    """A plausible record; the score tells which trial it is."""
    level = 0.5 + 0.01 * trial.replicate + 0.1 * (trial.arm == "gan")
    metrics = {
        "accuracy": level,
        "recall": {name: level + 0.001 * int(name) for name in "0123456789"},
    }
    return {
        "trial_id": trial.trial_id,
        "kind": "trial",
        "status": "done",
        "attempt": 1,
        "study": study.name,
        "configuration": canonical_json(trial.configuration),
        "validation": metrics,
        "test": metrics if trial.stage == "replicate" else None,
        "curves": {
            "epoch": [1, 2],
            "train_loss": [2.0, 1.0],
            "validation_loss": [2.0, 1.5],
            "validation_score": [0.1, 0.2],
        },
        "n_real": 500,
        "code_digest": "c0de",
        "stamps": ["GROUPS UNKNOWN"],
        **changes,
    }


def fill(study, store, change=lambda trial: {}, skip=()):
    """Write records and selections as a run would, without training anything."""
    trials = [trial for trial in build(study, None).trials if trial.trial_id not in skip]
    write_segment(store, "grid", to_table([record(t, study, **change(t)) for t in trials]))
    for cell, select in build(study, store).selections.items():
        if select in skip:
            continue
        with draft(store, "selection", select, inputs={}) as made:
            made.info.update(configuration=dict(study.configurations[1]), cell={"arm": cell.arm})
    plan = build(study, store)
    skip = plan.blocked()
    trials = [t for t in plan.trials if t.stage == "replicate" and t.trial_id not in skip]
    write_segment(store, "fresh", to_table([record(t, study, **change(t)) for t in trials]))
    return build(study, store)


def test_a_finished_study_is_whole(finished):
    _, _, plan, facts = finished
    assert plan.complete
    assert facts.finished
    assert set(facts.trials.status) == {"done"}
    assert len(facts.trials) == len(plan.trials)
    assert tables.blocks_table(facts).complete.all()
    assert facts.design.classes == tuple("0123456789")
    assert facts.design.minority == ("8", "9")
    assert facts.design.synthetic_arms == ("gan",)


def test_results_are_the_records_own_numbers(finished):
    _, store, plan, facts = finished
    rows = {row["trial_id"]: row for row in read_records(store).to_pylist()}
    results = tables.long_results(facts)
    for trial in plan.trials:
        if trial.stage != "replicate":
            continue
        mine = results[
            (results.arm == trial.arm)
            & (results.regimen == trial.regimen)
            & (results.replicate == trial.replicate)
        ]
        test = rows[trial.trial_id]["test"]
        assert mine[mine.scope == "overall"].value.item() == test["accuracy"]
        classes = mine[mine.scope == "class"].set_index("class_name").value
        assert classes.to_dict() == test["recall"]
        mean = np.mean([test["recall"]["8"], test["recall"]["9"]])
        assert mine[mine.scope == "minority"].value.item() == pytest.approx(mean)


def test_counts_are_those_of_split_and_allocation(finished):
    _, store, plan, facts = finished
    for task in plan.tasks.values():
        if task.kind == "split":
            split = read_split(read_artifact(store, "split", task.id))
            counts = facts.counts[
                (facts.counts.class_name == "") & (facts.counts.draw == task.payload["draw"])
            ].set_index("role")
            assert counts.images["test"] == len(split.rows("test"))
            assert counts.images["removed"] == len(split.rows("removed"))
        if task.kind == "allocate":
            allocation = read_allocation(read_artifact(store, "allocation", task.id))
            mine = facts.synthetic[
                (facts.synthetic.regimen == task.payload["regimen"])
                & (facts.synthetic.draw == task.payload["draw"])
            ].set_index("class_name")
            added = (allocation.vectors_MK == 1).sum(axis=0)
            assert mine.added.to_dict() == dict(zip(allocation.classes, added, strict=True))
            assert mine.intended.sum() == len(allocation)
            assert set(mine.arms) == {"gan, oversample_matched"}
            assert facts.regimen_images[task.payload["regimen"]] > 0


def test_curves_and_pictures_are_found(finished):
    facts = finished[3]
    assert set(tables.curves_table(facts).regimen) == {0.25, 1.0}
    assert {picture.role for picture in facts.pictures} == {"real", "synthetic"}
    assert {picture.class_name for picture in facts.pictures} == {"8", "9"}
    assert all(picture.path.is_file() for picture in facts.pictures)
    assert {sheet.place for sheet in facts.sheets} == {"25 %", "100 %"}
    assert {sheet.classes for sheet in facts.sheets} == {tuple("8901234567")}
    assert set(facts.generators.steps) == {3}
    assert set(facts.losses.generator_id) == set(facts.generators.generator_id)


def test_a_real_study_gets_its_page_at_the_end_of_its_run(finished):
    study = finished[0]
    page = Path(study.settings.store.report_path) / study.name / "report.html"
    html = page.read_text(encoding="utf-8")
    assert "PROVISIONAL" not in html
    assert "data:image/png;base64," in html
    assert "Samples on the way" in html
    assert "How good the made images are" not in html


def test_nothing_has_run_yet(tmp_path):
    study, store = load("digits", FAST), open_store(tmp_path)
    facts = gather(study, store, build(study, store))
    assert not facts.finished
    assert set(facts.trials.status) == {"waiting"}
    replicates = facts.trials[facts.trials.stage == "replicate"]
    assert len(replicates) == 5 * 2 * 4, "also those whose configuration is not chosen yet"
    assert (replicates.configuration == "").all()


def test_what_a_trial_is_comes_from_the_plan_not_the_record(tmp_path):
    study, store = load("digits", FAST), open_store(tmp_path)
    plan = fill(study, store, lambda trial: {"arm": "someone else's", "stage": "grid"})
    facts = gather(study, store, plan)
    assert set(facts.trials.arm) == set(study.arms)
    gan = tables.long_results(facts).query("arm == 'gan' and scope == 'overall'")
    assert sorted(gan.value) == pytest.approx(sorted([0.6, 0.61, 0.62, 0.63] * 2))


def test_the_chosen_configuration_is_the_selections(tmp_path):
    study, store = load("digits", FAST), open_store(tmp_path)
    facts = gather(study, store, fill(study, store))
    assert len(facts.chosen) == 10
    assert set(facts.chosen.configuration) == {canonical_json(study.configurations[1])}


def stop_slow_ones(trial):
    """Stop what has the second learning rate after one of two epochs."""
    if trial.stage == "grid" and trial.configuration["learning_rate"] == 0.001:
        return {"status": "stopped", "epochs": 1}
    return {"status": "done", "epochs": 2}


def test_stopped_trials_are_an_end_where_early_stopping_is_asked_for(tmp_path):
    rules = ("protocol.search=asha", "protocol.asha.reduction_factor=4", "training.epochs=7")
    study, store = load("digits", [*FAST, *rules]), open_store(tmp_path)
    facts = gather(study, store, fill(study, store, stop_slow_ones))
    assert facts.finished
    grid = facts.trials[facts.trials.stage == "grid"]
    assert grid.status.value_counts().to_dict() == {"done": 10, "stopped": 10}
    assert set(grid[grid.status == "stopped"].epochs) == {1}
    assert set(facts.trials.planned_epochs) == {7}
    assert facts.design.early_stopping == (
        "early stopping by ASHA, first rung 1 epoch, reduction factor 4, cell by cell"
    )


def test_what_an_earlier_search_has_stopped_is_still_to_come_where_none_is(tmp_path):
    study, store = load("digits", FAST), open_store(tmp_path)
    facts = gather(study, store, fill(study, store, stop_slow_ones))
    assert not facts.finished
    grid = facts.trials[facts.trials.stage == "grid"]
    assert grid.status.value_counts().to_dict() == {"done": 10, "waiting": 10}
    assert facts.design.early_stopping == ""


@pytest.mark.parametrize(("limit", "planned"), [("null", {3, 5}), ("4", {3, 4})])
def test_planned_epochs_are_those_of_the_configuration(tmp_path, limit, planned):
    grid = ("grid={epochs: [3, 5]}", f"training.max_steps={limit}")
    study, store = load("digits", [*FAST, *grid]), open_store(tmp_path)
    facts = gather(study, store, build(study, store))
    assert set(facts.trials[facts.trials.stage == "grid"].planned_epochs) == planned
    assert facts.trials[facts.trials.stage == "replicate"].planned_epochs.isna().all()


@pytest.mark.parametrize("final", [False, True])
def test_divergence_is_an_end_and_a_failure_may_be_tried_again(tmp_path, final):
    def change(trial):
        if trial.stage == "replicate" and trial.arm == "gan" and trial.regimen == 1.0:
            status = {0: "diverged", 1: "failed"}.get(trial.replicate, "done")
            return {"status": status, "message": "loss", "test": None, "validation": None}
        return {}

    study, store = load("digits", FAST), open_store(tmp_path)
    plan = fill(study, store, change)
    plan.failures = {
        id_: dataclasses.replace(failure, final=failure.diverged or final)
        for id_, failure in plan.failures.items()
    }
    facts = gather(study, store, plan)
    mine = facts.trials.query("stage == 'replicate' and arm == 'gan' and regimen == 1.0")
    found = mine.set_index("replicate").status.to_dict()
    assert found == {0: "diverged", 1: "failed" if final else "waiting", 2: "done", 3: "done"}
    blocks = tables.blocks_table(facts).query("regimen == 1.0").set_index("replicate").complete
    assert blocks.to_dict() == {0: True, 1: final, 2: True, 3: True}


def test_a_cell_whose_whole_grid_diverged_holds_up_no_other(tmp_path):
    study, store = load("digits", FAST), open_store(tmp_path)
    with RecordWriter(store) as writer:
        for trial in build(study, None).trials:
            if trial.arm == "standard" and trial.regimen == 0.5:
                gone = {"status": "diverged", "message": "loss", "validation": None}
                writer.append(record(trial, study, **gone))
    facts = gather(study, store, build(study, store))
    mine = facts.trials.query("arm == 'standard' and regimen == 0.5")
    assert set(mine[mine.stage == "grid"].status) == {"diverged"}
    assert set(mine[mine.stage == "replicate"].status) == {"blocked"}


@pytest.mark.parametrize("draw", [0, 1])
def test_trials_that_a_failed_generator_blocks_are_over_and_say_why(tmp_path, draw):
    study, store = load("digits", FAST), open_store(tmp_path)
    gan = next(
        task
        for task in build(study, None).tasks.values()
        if task.kind == "train_gan" and task.payload["draw"] == draw and task.payload["regimen"] < 1
    )
    limit = study.settings.engine.max_attempts
    failed = {"kind": "train_gan", "status": "failed", "attempt": limit, "message": "no memory"}
    with RecordWriter(store) as writer:
        writer.append({"trial_id": gan.id, **failed})
    blocked = build(study, store).blocked()
    plan = fill(study, store, skip=blocked)
    facts = gather(study, store, plan)
    assert facts.finished
    assert tables.blocks_table(facts).complete.all()
    assert "PROVISIONAL" not in tables.study_stamps(facts)
    mine = facts.trials.query("stage == 'replicate' and arm == 'gan' and regimen == 0.5")
    lost = {0, 1, 2, 3} if draw == 0 else {1, 3}  # the grid is run on draw 0
    assert set(mine[mine.status == "blocked"].replicate) == lost
    assert set(facts.trials[facts.trials.status == "blocked"].arm) == {"gan"}
    (message,) = set(mine[mine.status == "blocked"].message)
    assert message == f"never started: {gan.label} failed: no memory"
    failures = tables.failures_table(facts).query("arm == 'gan' and regimen == 0.5")
    assert message in set(failures.message)


def test_a_metric_of_all_classes_is_refused_where_single_ones_are_meant(tmp_path):
    study = load("digits", [*FAST, "statistics.per_class=accuracy"])
    store = open_store(tmp_path)
    with pytest.raises(ConfigError, match=r"per_class is 'accuracy'.*set it to one of recall; no"):
        gather(study, store, fill(study, store))


def test_a_number_is_told_from_another_studys_values_by_class(tmp_path):
    study, store = load("digits", FAST), open_store(tmp_path)
    other = {"trial_id": "other", "kind": "trial", "status": "done", "attempt": 1}
    values = {"accuracy": {"0": 0.5, "cat": 0.7}, "recall": 0.5}
    write_segment(store, "other", to_table([{**other, "test": values, "validation": values}]))
    plan = fill(study, store)
    facts = gather(study, store, plan)
    done = facts.trials.query("stage == 'replicate' and arm == 'none' and replicate == 0")
    assert done.overall.tolist() == [0.5, 0.5]
    assert not tables.long_results(facts).query("scope == 'class'").empty
    wrong = study.replace(["statistics.per_class=accuracy"])
    with pytest.raises(ConfigError, match="per_class is 'accuracy'"):
        gather(wrong, store, plan)


def test_a_metric_that_is_per_class_counts_as_its_mean(tmp_path):
    study = load("digits", [*FAST, "statistics.overall=recall", "protocol.select_by=recall"])
    store = open_store(tmp_path)
    facts = gather(study, store, fill(study, store))
    done = facts.trials.query("stage == 'replicate' and arm == 'none' and replicate == 0")
    assert done.overall.tolist() == pytest.approx([0.5 + 0.001 * 4.5] * 2)


def test_a_permuted_class_order_changes_no_result(tmp_path):
    tables_of = []
    for place, order in enumerate(["0123456789", "9081726354"]):
        names = ",".join(f"'{name}'" for name in order)
        study = load("digits", [*FAST, f"dataset.class_order=[{names}]"])
        store = open_store(tmp_path / str(place))
        facts = gather(study, store, fill(study, store))
        assert facts.design.classes == tuple(order)
        keys = ["regimen", "arm", "scope", "class_name"]
        found = tables.results_table(facts).sort_values(keys).reset_index(drop=True)
        tables_of.append(found)
    assert tables_of[0].equals(tables_of[1])


def test_thousands_of_records_become_a_few_tables(tmp_path):
    study = load("digits", [*FAST, "protocol.replicates=298"])
    store = open_store(tmp_path)
    facts = gather(study, store, fill(study, store))
    assert len(facts.trials) == 3_000
    assert set(tables.results_table(facts)["n"]) == {298}


def test_restricted_images_are_not_shown(finished, tmp_path, monkeypatch):
    study, store, plan, _ = finished

    class Restricted:
        restrictions = ("no redistribution",)
        info: typing.ClassVar = {}

    real = read_artifact

    def restricted(store, kind, id_):
        return Restricted() if kind in {"exhibits", "dataset"} else real(store, kind, id_)

    monkeypatch.setattr("synthtrial.report.made.read_artifact", restricted)
    facts = gather(study, store, plan)
    assert facts.pictures == ()
    assert "no redistribution" in facts.notes[0]


def limit(store, monkeypatch, **info):
    """Have the dataset be restricted, and its manifest say more."""
    real = read_artifact

    def limited(store, kind, id_):
        artifact = real(store, kind, id_)
        if kind != "dataset":
            return artifact
        said = {"restrictions": ["no redistribution"], "info": {**artifact.info, **info}}
        return dataclasses.replace(artifact, manifest={**artifact.manifest, **said})

    monkeypatch.setattr("synthtrial.report.made.read_artifact", limited)


def test_restricted_images_are_shown_where_the_user_asks_for_them(finished, monkeypatch):
    study, store, _, plain = finished
    limit(store, monkeypatch)
    asked = study.replace(["store.show_restricted=true"])
    facts = gather(asked, store, build(asked, store))
    assert facts.pictures == plain.pictures
    assert facts.sheets == plain.sheets
    (note,) = facts.notes
    assert "no redistribution" in note
    assert "store.show_restricted" in note
    assert "whoever gets this page gets them" in note


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (0, ()),
        (1, ("1 image of digits could not be read and is in no part of the study.",)),
        (1200, ("1,200 images of digits could not be read and are in no part of the study.",)),
    ],
)
def test_images_that_could_not_be_read_are_counted(finished, monkeypatch, bad, said):
    study, store, plan, _ = finished
    limit(store, monkeypatch, unreadable=bad)
    notes = gather(study, store, plan).notes
    assert tuple(note for note in notes if "could not be read" in note) == said


def test_uncertain_labels_are_counted_where_the_split_has_counted_them(finished, monkeypatch):
    study, store, plan, facts = finished
    single = facts.counts[facts.counts.class_name != ""]
    assert set(single.uncertain) == {0.0}
    real = read_artifact

    def older(store, kind, id_):
        artifact = real(store, kind, id_)
        info = {key: value for key, value in artifact.info.items() if key != "uncertain_counts"}
        return dataclasses.replace(artifact, manifest={**artifact.manifest, "info": info})

    monkeypatch.setattr("synthtrial.report.sources.read_artifact", older)
    assert gather(study, store, plan).counts.uncertain.isna().all()


def test_the_overall_score_may_be_of_some_classes(tmp_path):
    rules = ("statistics.overall=recall", "statistics.overall_classes=[0,9]")
    study, store = load("digits", [*FAST, *rules]), open_store(tmp_path)
    facts = gather(study, store, fill(study, store))
    done = facts.trials.query("stage == 'replicate' and arm == 'none' and replicate == 0")
    assert done.overall.tolist() == pytest.approx([0.5 + 0.001 * 4.5] * 2)
    assert facts.design.overall_scope == "0 and 9"
    assert not facts.design.overall_is_minority
    chosen = study.replace(["statistics.overall_classes=[8,9]"])
    assert gather(chosen, store, build(chosen, store)).design.overall_is_minority
    assert describe(load("digits")).overall_scope == "all classes"


def test_the_validation_score_is_over_the_classes_that_choose(tmp_path):
    rules = ("protocol.select_by=recall", "protocol.select_over=macro_chosen")
    study, store = load("digits", [*FAST, *rules]), open_store(tmp_path)
    facts = gather(study, store, fill(study, store))
    grid = facts.trials.query("stage == 'grid' and arm == 'none'")
    assert set(grid.validation.round(6)) == {round(0.49 + 0.0085, 6)}


def test_printed_numbers_are_those_that_the_study_names(finished):
    study, store, plan, facts = finished
    assert facts.published is None
    named = study.replace(["statistics.published=chexpert_paper"])
    assert gather(named, store, plan).published.name == "chexpert_paper"


def test_a_damaged_list_of_pictures_is_a_clear_error(tmp_path):
    study, store = load("digits", FAST), open_store(tmp_path)
    plan = build(study, store)
    exhibits = next(task for task in plan.tasks.values() if task.kind == "exhibits")
    with draft(store, "dataset", exhibits.payload["dataset"], inputs={}) as made:
        (made.path / "x").write_text("x")
    with draft(store, "exhibits", exhibits.id, inputs={}) as made:
        (made.path / "exhibits.json").write_text(json.dumps({"pictures": [{"file": "gone.png"}]}))
    with pytest.raises(DamagedArtifactError, match=r"exhibits\.json"):
        gather(study, store, build(study, store))


def test_arms_and_rules_are_told_in_words():
    design = describe(load("digits"))
    texts = {arm.name: arm.text for arm in design.arms}
    assert texts["none"] == "nothing is done"
    assert "random shift" in texts["standard"]
    assert "gan" in texts["oversample_matched"]
    assert "weigh more" in texts["class_weights"]
    assert design.balance == "as few are added as bring each of 8 and 9 to 10 % of the images"


def test_controls_and_label_policies_are_told_in_words():
    rules = (
        "arms.shuffled={synthetic: true, shuffle_labels: true}",
        "arms.some={augment: [{name: shift, pixels: 1}], augment_only: [8, 9]}",
        "arms.longer={steps_of: gan}",
        "training.label_policy=smooth",
    )
    design = describe(load("digits", rules))
    texts = {arm.name: arm.text for arm in design.arms}
    assert texts["shuffled"].endswith("are added, their labels are shuffled among them")
    assert texts["some"] == "training images that hold 8 or 9 undergo random shift"
    assert texts["longer"] == "as many gradient steps as gan"
    assert design.uncertain_text == "counts as a number drawn between 0.55 and 0.85"
    assert design.uncertain_counts
