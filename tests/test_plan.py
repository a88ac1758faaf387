from __future__ import annotations

from collections import Counter

import pytest

from synthtrial.driver import smoke
from synthtrial.errors import ConfigError
from synthtrial.identity import digest
from synthtrial.plan import Failure, build, has_result, narrow
from synthtrial.store.artifacts import draft, open_store
from synthtrial.store.records import RecordWriter
from synthtrial.study import load, shipped_studies
from synthtrial.tasks import GRID_REPLICATE, Cell, same_task


def kinds(plan):
    return Counter(task.trial.stage if task.trial else task.kind for task in plan.tasks.values())


def ids(study, kind="trial", **where):
    return {
        same_task(task): task.id
        for task in build(study, None).tasks.values()
        if task.kind == kind
        and all(getattr(task.trial, key) == value for key, value in where.items())
    }


def test_the_digits_study_is_spelled_out_whole():
    plan = build(load("digits"), None)
    assert kinds(plan) == {
        "prepare": 1,
        "split": 6,
        "allocate": 24,
        "train_gan": 24,
        "synthesize": 24,
        "grid": 360,
        "select": 20,
        "exhibits": 1,
    }
    assert plan.undecided == 120
    assert not plan.complete


def test_every_id_is_the_digest_of_the_whole_payload(tmp_path):
    study, store = load("digits", ["protocol.replicates=12"]), open_store(tmp_path)
    plan = build(study, store)
    for place, select in enumerate(plan.selections.values()):
        with draft(store, "selection", select, inputs={}) as made:
            made.info.update(configuration=dict(study.configurations[place % 18]))
    plans = [build(load("digits", ["protocol.kind=retune"]), None), build(study, store)]
    for task in (task for plan in plans for task in plan.tasks.values()):
        assert task.id == digest(task.payload)
    assert {task.trial.replicate for task in plans[1].tasks.values() if task.trial} == {
        GRID_REPLICATE,
        *range(12),
    }


def test_tasks_come_after_those_they_need():
    seen = set()
    for task in build(load("digits"), None).tasks.values():
        assert set(task.needs) <= seen
        seen.add(task.id)


def test_trial_ids_are_pinned():
    # Published results carry these names: a change here must be meant.
    study = load("digits")
    plan = build(study, None)
    first = next(task for task in plan.tasks.values() if task.kind == "trial")
    assert (first.label, first.id) == (
        "none, regimen 0.1, learning_rate=0.01 batch_size=16 optimizer=momentum",
        "59cd0de600d8e103033b",
    )


def test_settings_of_the_generator_touch_only_what_descends_from_it():
    before, after = load("digits"), load("digits", ["gan_training.steps=7"])
    assert ids(before, arm="none") == ids(after, arm="none")
    assert ids(before, arm="oversample_matched") == ids(after, arm="oversample_matched")
    assert not set(ids(before, arm="gan").values()) & set(ids(after, arm="gan").values())


@pytest.mark.parametrize(
    "override",
    [
        "engine.workers=1",
        "store.path=/elsewhere",
        "statistics.confidence=0.9",
        "description=other words",
        "allow_leakage=true",
        "protocol.replicates=20",
        "training.momentum=0.9",
        "name=other",
    ],
)
def test_what_changes_no_result_changes_no_id(override):
    assert ids(load("digits")) == ids(load("digits", [override]))


@pytest.mark.parametrize(
    "override",
    [
        "seed=1",
        "training.epochs=9",
        "training.precision=bf16",
        "split.test=0.2",
        "metrics=[accuracy,recall,auc]",
    ],
)
def test_what_changes_every_result_changes_every_id(override):
    assert not set(ids(load("digits")).values()) & set(ids(load("digits", [override])).values())


def test_a_renamed_arm_keeps_its_results(tmp_path):
    text = shipped_studies()["digits"].read_text()
    path = tmp_path / "renamed.yaml"
    path.write_text(text.replace("  none: {}", "  plain: {preset: none}"))
    renamed = ids(load(path, ["statistics.baseline=plain"]), arm="plain")
    assert set(renamed.values()) == set(ids(load("digits"), arm="none").values())


@pytest.mark.parametrize("name", ["digits", "bluemarble", "bluemarble_quality", "bluemarble_zones"])
def test_a_smoke_run_keeps_arms_apart_that_differ_in_their_generators_steps(name):
    assert build(smoke(load(name)), None).tasks


def test_two_arms_that_do_the_same_are_refused():
    with pytest.raises(ConfigError, match="the arms 'none' and 'plain' do exactly the same"):
        build(load("digits", ["arms.plain.sampler=shuffle"]), None)


def test_more_replicates_keep_the_draws_of_those_there_are():
    cell = Cell("none", 1.0)
    three = "protocol.draws=3"
    few, many = load("digits", [three]), load("digits", [three, "protocol.replicates=20"])
    trials = {}
    for study in (few, many):
        plan = build(study, None)
        plan.expand(cell, {"learning_rate": 0.01, "batch_size": 16, "optimizer": "adam"})
        trials[study] = [t for t in plan.trials if t.stage == "replicate"]
    assert [t.draw for t in trials[many]] == [r % 3 for r in range(20)]
    assert {t.trial_id for t in trials[few]} < {t.trial_id for t in trials[many]}


def test_grid_trials_never_share_a_seed_with_replicates():
    plan = build(load("digits"), None)
    assert {trial.replicate for trial in plan.trials} == {GRID_REPLICATE}


@pytest.mark.parametrize(("kind", "selections"), [("full_grid", 20), ("retune", 120)])
def test_every_configuration_in_every_replicate(kind, selections):
    plan = build(load("digits", [f"protocol.kind={kind}"]), None)
    assert kinds(plan)["grid"] == 360 * 6
    assert kinds(plan)["select"] == selections
    assert plan.undecided == 120


def test_grid_trials_see_no_test_set_and_replicates_do():
    plan = build(load("digits"), None)
    grid = [task for task in plan.tasks.values() if task.kind == "trial"]
    added = plan.expand(Cell("none", 0.1), grid[0].trial.configuration)
    assert not any(task.payload["evaluate_test"] for task in grid)
    assert all(task.payload["evaluate_test"] for task in added)


def test_where_keeps_the_trials_that_match_and_what_they_need():
    plan = narrow(build(load("digits"), None), {"arm": "gan", "regimen": "0.10"})
    assert kinds(plan) == {
        "prepare": 1, "split": 6, "allocate": 6, "train_gan": 6, "synthesize": 6,
        "grid": 18, "select": 1,
    }  # fmt: skip


def test_where_chooses_among_replicates_that_are_still_to_come():
    whole = build(load("digits", ["protocol.draws=3"]), None)
    assert narrow(whole, {"arm": "gan"}).undecided == 24
    assert narrow(whole, {"replicate": "0"}).undecided == 20
    assert narrow(whole, {"draw": "1", "regimen": "1"}).undecided == 10
    assert narrow(whole, {"stage": "grid"}).undecided == 0
    chosen = narrow(whole, {"replicate": "3"})
    cell = Cell("none", 1.0)
    point = {"learning_rate": 0.01, "batch_size": 16, "optimizer": "adam"}
    assert [task.trial.replicate for task in chosen.expand(cell, point)] == [3]


def test_where_keeps_what_replicates_on_other_draws_will_need():
    whole = build(load("digits", ["protocol.draws=3"]), None)
    for where, draws in (({"replicate": "4"}, {1}), ({"draw": "2"}, {2}), ({"arm": "gan"}, {1, 2})):
        plan = narrow(whole, where)
        point = plan.study.configurations[0]
        added = [task for cell in plan.selections for task in plan.expand(cell, point)]
        assert {task.trial.draw for task in added} - {0} == draws
        for task in plan.tasks.values():
            assert set(task.needs) <= plan.tasks.keys(), f"{task.label} would wait for ever"


def test_a_validation_scope_is_the_trials_affair_and_not_the_generators():
    before, after = load("digits"), load("digits", ["split.validation_scope=proportional"])
    assert ids(before, "train_gan") == ids(after, "train_gan")
    assert not set(ids(before).values()) & set(ids(after).values())


def test_the_order_in_which_classes_are_named_changes_no_id():
    assert ids(load("digits")) == ids(load("digits", ["balance.classes=[9,8]"]))


def test_a_metric_of_a_higher_version_makes_trials_new(monkeypatch):
    import dataclasses

    from synthtrial import tasks

    before = ids(load("digits"))
    find = tasks.find
    raised = lambda kind, name: dataclasses.replace(find(kind, name), version=2)  # noqa: E731
    monkeypatch.setattr(tasks, "find", raised)
    assert not set(before.values()) & set(ids(load("digits")).values())


def test_failures_are_forgiven_and_divergence_is_not():
    plan = build(load("digits"), None)
    trials = [task.id for task in plan.tasks.values() if task.kind == "trial"]
    plan.failures[trials[0]] = Failure(2, "no driver", final=True)
    plan.failures[trials[1]] = Failure(1, "NaN", final=True, diverged=True)
    plan.forgive()
    assert set(plan.failures) == {trials[1]}


@pytest.mark.parametrize(
    ("where", "message"),
    [({"arms": "gan"}, "unknown key 'arms'"), ({"arm": "gam"}, "did you mean 'gan'")],
)
def test_where_refuses_what_no_trial_has(where, message):
    with pytest.raises(ConfigError, match=message):
        narrow(build(load("digits"), None), where)


def test_a_class_that_does_not_exist_is_refused_before_anything_runs():
    with pytest.raises(ConfigError, match="has no class '10'"):
        build(load("digits", ["imbalance.classes=[8,10]"]), None)


def test_done_artifacts_are_read_off_the_store(tmp_path):
    study, store = load("digits"), open_store(tmp_path / "store")
    prepare = next(iter(build(study, store).tasks.values()))
    with draft(store, "dataset", prepare.id, inputs={}) as made:
        (made.path / "x").write_bytes(b"x")
    assert build(study, store).done == {prepare.id}


def test_a_cell_is_decided_once_all_its_trials_are_settled():
    plan = build(load("digits"), None)
    select = plan.tasks[plan.selections[Cell("none", 0.1)]]
    plan.done.update(select.needs[1:])
    assert not plan.is_ready(select)
    plan.failures[select.needs[0]] = Failure(1, "lost", final=False)
    assert not plan.is_ready(select)
    plan.failures[select.needs[0]] = Failure(2, "diverged", final=True)
    assert plan.is_ready(select)


def test_what_needs_a_failed_task_is_blocked_with_its_cause():
    plan = build(load("digits"), None)
    gan = next(task for task in plan.tasks.values() if task.kind == "train_gan")
    plan.failures[gan.id] = Failure(2, "loss is NaN", final=True)
    blocked = plan.blocked()
    assert set(blocked.values()) == {gan.id}
    assert not set(blocked) & {task.id for task in plan.to_do()}
    stopped = [plan.tasks[id_] for id_ in blocked]
    assert {task.kind for task in stopped} == {"synthesize", "trial", "select", "exhibits"}
    assert {task.trial.arm for task in stopped if task.trial} == {"gan"}


ASHA = "protocol.search=asha"


def record(store, task, status, attempt=1):
    with RecordWriter(store) as writer:
        writer.append({"trial_id": task.id, "kind": "trial", "status": status, "attempt": attempt})


@pytest.fixture
def stopped(tmp_path):
    """A store with the record of one grid trial that early stopping ended, and the trial."""
    store = open_store(tmp_path / "store")
    trial = next(t for t in build(load("digits"), None).tasks.values() if t.kind == "trial")
    record(store, trial, "stopped")
    return store, trial


def test_a_stopped_trial_is_a_result_where_early_stopping_is_asked_for(stopped):
    store, trial = stopped
    study = load("digits", [ASHA])
    plan = build(study, store)
    assert trial.id in plan.done
    assert not plan.failures
    assert has_result(store, study, trial)


def test_a_stopped_trial_is_to_be_trained_to_its_end_where_it_is_not(stopped):
    store, trial = stopped
    study = load("digits")
    plan = build(study, store)
    assert not plan.is_settled(trial.id), "neither done nor failed"
    assert trial in plan.to_do()
    assert not has_result(store, study, trial)


@pytest.mark.parametrize("attempt", [0, 1, 2])
def test_training_a_stopped_trial_to_its_end_counts_in_either_search(stopped, attempt):
    store, trial = stopped
    record(store, trial, "done", attempt)
    for overrides in ([], [ASHA]):
        study = load("digits", overrides)
        assert trial.id in build(study, store).done
        assert has_result(store, study, trial)


def test_the_search_changes_what_is_chosen_and_no_trial():
    grid, asha = load("digits"), load("digits", [ASHA])
    assert ids(grid) == ids(asha)
    one, two = (set(build(study, None).selections.values()) for study in (grid, asha))
    assert len(one) == len(two) == 20
    assert not one & two
    choices = [task for task in build(grid, None).tasks.values() if task.kind == "select"]
    assert all("search" not in task.payload for task in choices), "ids from before there was one"


def test_a_cell_is_decided_when_some_of_its_trials_were_stopped(stopped):
    store, trial = stopped
    plan = build(load("digits", [ASHA]), store)
    select = plan.tasks[plan.selections[Cell("none", 0.1)]]
    assert trial.id in select.needs
    plan.done.update(set(select.needs) - {trial.id})
    assert plan.is_ready(select)


def test_classes_may_choose_for_themselves_and_share_trials_where_they_agree(tiny):
    study = load("digits", tiny("protocol.select_over=per_class", "protocol.select_by=recall"))
    plan = build(study, None)
    cells = [cell for cell in plan.selections if (cell.arm, cell.regimen) == ("none", 1.0)]
    assert [cell.target for cell in cells] == ["8", "9"]
    selects = [plan.tasks[plan.selections[cell]] for cell in cells]
    assert [task.payload["select_over"] for task in selects] == [["8"], ["9"]]
    assert selects[0].payload["trials"] == selects[1].payload["trials"]
    first, other = study.configurations
    added = plan.expand(cells[0], first)
    assert {task.trial.replicate for task in added} == {0, 1}
    assert plan.expand(cells[1], first) == []  # the same trainings serve both
    assert len(plan.expand(cells[1], other)) == 2


def test_choosing_by_all_classes_leaves_ids_as_they_were(tiny):
    overrides = tiny("protocol.select_by=recall")
    plain = set(build(load("digits", overrides), None).tasks)
    chosen = build(load("digits", [*overrides, "protocol.select_over=macro_chosen"]), None)
    trials = {task.id for task in chosen.tasks.values() if task.kind == "trial"}
    assert not trials & plain  # the kept epoch is another one
    others = {task.id for task in chosen.tasks.values() if task.kind not in ("trial", "select")}
    assert others <= plain


def test_a_publication_that_cannot_be_read_is_noticed_before_anything_runs(tiny):
    study = load("digits", tiny("statistics.published=nope"))
    with pytest.raises(ConfigError, match="unknown table 'nope'"):
        build(study, None)


def test_settings_that_nothing_looks_at_are_in_no_id(tiny):
    plain = set(build(load("digits", tiny()), None).tasks)
    assert set(build(load("digits", tiny("training.smoothing=[0.1,0.2]")), None).tasks) == plain
    smooth = [
        set(build(load("digits", tiny("training.label_policy=smooth", *more)), None).tasks)
        for more in ((), ("training.smoothing=[0.1,0.2]",))
    ]
    assert smooth[0] != smooth[1]


def test_a_narrowed_plan_draws_maps_if_it_trains_their_classifier(tiny):
    study = load("digits", tiny("cams.arm=gan"))
    plan = build(study, None)
    for cell in plan.selections:
        plan.expand(cell, study.configurations[0])
    kinds = {
        arm: [task.kind for task in narrow(plan, {"arm": arm}).tasks.values()].count("cams")
        for arm in ("gan", "none")
    }
    assert kinds == {"gan": 1, "none": 0}
