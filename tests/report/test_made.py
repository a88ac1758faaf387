"""What the store knows of made images, from fabricated artifacts."""

import dataclasses

import pytest
from PIL import Image

from synthtrial.errors import DamagedArtifactError
from synthtrial.plan import build
from synthtrial.report.description import describe
from synthtrial.report.flow import stations
from synthtrial.report.pictures import External
from synthtrial.report.sources import gather
from synthtrial.report.verdict import study_paragraph
from synthtrial.store.artifacts import draft, open_store
from synthtrial.store.records import RecordWriter
from synthtrial.study import load
from synthtrial.synthesis.quality import ClassQuality
from synthtrial.work.judge import quality_problems

ARMS = (
    "arms={none: {}, gan: {synthetic: true}, shifted: {synthetic: true, augment: [{name: shift}]}, "
    "big: {synthetic: true, balance: {count: 100}, filter: {candidates: 6}}, "
    "small: {synthetic: true, balance: {count: 20}, dose_of: big}}"
)
JUDGED = (
    ARMS,
    "regimens=[0.5,0.75,1.0]",
    "grid={}",
    "protocol.draws=2",
    "protocol.replicates=2",
    "quality={features: reference, min_recognisability: 0.8, min_coverage: 0.5}",
)
FIGURES = {"recognisability_relative": 0.6, "coverage_relative": None, "kernel_distance": 0.25}


def quality_of(name, **changes):
    known = {"recogniser": "reference", "k": 5, "percentile": 5.0, "undefined": {"recall": "few"}}
    counts = {"n_made": 40, "n_heldout": 17, "n_training": 18}
    return ClassQuality(name=name, features="last layer", **counts, **known, **FIGURES).as_dict()


HISTORY = {"step": [3.0, 6.0], "generator_loss": [1.0, 0.5], "discriminator_loss": [2.0, 1.5]}
TRAINED = {"images": 500, "steps": 6, "skipped": 1, "images_seen": 192, "seconds": 4.5}
SHOWN = {"shown": ["8", "9", "0"], "processes": 2}
KEPT = {"candidates": 600, "accepted": 450, "wanted": 100, "kept": 100, "filled": 0}
INFO = {
    "assess": ("quality", {"classes": {name: quality_of(name) for name in "89"}}),
    "filter": ("filtered", {"classes": dict.fromkeys("89", KEPT)}),
    "prepare": ("dataset", {}),
}


def fill(study, store, kinds=("prepare", "train_gan", "filter", "assess"), generator=SHOWN):
    """Write the artifacts of these tasks with made-up facts."""
    for task in build(study, None).tasks.values():
        if task.kind == "train_gan" and task.kind in kinds:
            with draft(store, "generator", task.id, inputs={}) as made:
                for step in (3, 6):
                    Image.new("L", (64, 24)).save(made.path / f"step-{step:09d}.png")
                made.info.update(history=HISTORY, **TRAINED, **generator)
        elif task.kind in kinds:
            kind, info = INFO[task.kind]
            with draft(store, kind, task.id, inputs={}) as made:
                made.info.update(info)
    return build(study, store)


@pytest.fixture
def study():
    return load("digits", JUDGED)


@pytest.fixture(scope="module")
def judged(tmp_path_factory):
    study, store = load("digits", JUDGED), open_store(tmp_path_factory.mktemp("judged"))
    return gather(study, store, fill(study, store))


def test_quality_is_found_for_each_arm_regimen_draw_and_class(judged):
    facts = judged
    table = facts.quality
    assert set(table.arms) == {"gan, shifted", "big", "small"}, "the same images share a row"
    assert len(table) == 3 * 3 * 2 * 2
    assert facts.planned == {"quality": (3 * 3 * 2, 0), "generator": (3 * 2, 0)}
    assert set(table.features) == {"last layer"}
    assert set(table.recognisability_relative) == {0.6}
    assert table.coverage_relative.isna().all()
    assert set(table.undefined) == {'{"recall": "few"}'}


def test_shortfalls_are_the_sentences_that_refuse_trials(judged):
    facts = judged
    mine = facts.shortfalls.query("arms == 'big' and regimen == 0.5 and draw == 1")
    config = load("digits", JUDGED).settings.quality
    assert sorted(mine.text) == sorted(quality_problems(INFO["assess"][1], config))
    assert set(mine.threshold) == {"min_recognisability", "min_coverage"}
    assert mine.value.isna().sum() == 2, "a figure that is undefined is no figure that suffices"


def test_a_filter_is_told_with_the_arms_that_live_on_it(judged):
    table = judged.acceptance
    assert set(table.arms) == {"big, small"}
    assert len(table) == 3 * 2 * 2
    assert set(table.accepted) == {450}


def test_generators_are_found_with_losses_and_samples_of_the_first_draw(judged):
    facts = judged
    assert sorted(facts.generators.regimen) == [0.5, 0.5, 0.75, 0.75, 1.0, 1.0]
    assert set(facts.generators.processes) == {2}
    assert len(facts.losses) == 6 * 2
    assert [(s.place, s.step) for s in facts.sheets] == [
        ("50 %", 3),
        ("50 %", 6),
        ("100 %", 3),
        ("100 %", 6),
    ]
    assert {sheet.classes for sheet in facts.sheets} == {("8", "9", "0")}


def test_generators_of_an_earlier_version_are_told_too(study, tmp_path):
    store = open_store(tmp_path)
    facts = gather(study, store, fill(study, store, ("prepare", "train_gan"), generator={}))
    assert set(facts.generators.processes) == {1}
    assert {sheet.classes for sheet in facts.sheets} == {()}
    assert facts.quality.empty


def test_one_generator_for_all_regimens_has_none_of_its_own(tmp_path):
    study, store = load("digits", [*JUDGED, "gan_training.fit_on=train"]), open_store(tmp_path)
    facts = gather(study, store, fill(study, store, ("prepare", "train_gan")))
    assert facts.generators.regimen.isna().all()
    assert sorted(facts.generators.draw) == [0, 1]
    assert set(facts.generators.place) == {"whole training set"}
    assert {sheet.place for sheet in facts.sheets} == {"whole training set"}


def test_generators_of_several_settings_are_told_apart_by_what_differs(tmp_path):
    arms = (
        "arms={none: {}, early: {synthetic: true, gan_training: {steps: 7, fit_on: original}}, "
        "late: {synthetic: true, gan_training: {steps: 9}}}"
    )
    overrides = ["regimens=[1.0]", "protocol.draws=1", arms]
    study, store = load("digits", overrides), open_store(tmp_path)
    facts = gather(study, store, fill(study, store, ("prepare", "train_gan")))
    assert list(facts.generators.place) == ["before imbalance, 7 steps", "100 %, 9 steps"]
    assert (facts.design.fit_on, facts.design.generator_kinds) == ("several", 2)
    early = facts.design.arms[1].text
    assert "a generator of its own (steps 7 and fitted on the training set before" in early


def test_samples_of_restricted_data_are_not_shown(study, tmp_path):
    store = open_store(tmp_path)
    plan = fill(study, store, ("train_gan",))
    dataset = next(task for task in plan.tasks.values() if task.kind == "prepare")
    with draft(store, "dataset", dataset.id, inputs={}, restrictions=["no redistribution"]):
        pass
    facts = gather(study, store, plan)
    assert facts.sheets == ()
    assert len(facts.generators) == 6
    assert "no redistribution" in facts.notes[0]


def test_a_measurement_that_failed_is_told_where_no_trial_waits_for_it(study, tmp_path):
    store = open_store(tmp_path)
    tasks = build(study, None).tasks.values()
    assess, gan = (next(t for t in tasks if t.kind == kind) for kind in ("assess", "train_gan"))
    limit = study.settings.engine.max_attempts
    with RecordWriter(store) as writer:
        for task in (assess, gan):
            failed = {"kind": task.kind, "status": "failed", "attempt": limit, "message": "oh"}
            writer.append({"trial_id": task.id, **failed})
    facts = gather(study, store, build(study, store))
    assert facts.lost == ((assess.label, "oh"),), "trials say themselves that the generator failed"
    assert facts.planned == {"quality": (18, 3), "generator": (6, 1)}


def test_a_dose_is_allocated_to_the_arm_that_takes_it(study, tmp_path):
    store, whole = open_store(tmp_path), build(study, None)
    info = {"n_rows": 488, "images": 0, "counts_before": {"8": 9}, "targets": [], "required": {}}
    info |= {"topped_up": {}, "realised": {"8": 0.02}, "expected": {"8": 0.02}}
    for task in whole.tasks.values():
        if task.kind == "allocate":
            with draft(store, "allocation", task.id, inputs={}) as made:
                made.info.update(info)
    facts = gather(study, store, build(study, store))
    assert set(facts.synthetic.arms) == {"gan, shifted", "big", "small"}


def test_arms_with_filters_and_doses_are_told_truthfully(study):
    design = describe(study)
    texts = {arm.name: arm.text for arm in design.arms}
    assert texts["gan"] == "images made by the generator are added"
    assert texts["big"] == (
        "of 6 images made by the generator for each one wanted, the first that the reference "
        "classifier recognises are added"
    )
    assert texts["small"] == "the first of the accepted images of big are added"
    assert design.filtered_arms == ("big", "small")
    assert "in gan and shifted, as few are added" in design.balance
    assert "in small, 20 are added for each of 8 and 9" in design.balance


def test_a_filter_that_fills_up_is_told_as_such():
    filled = load("digits", [*JUDGED, "arms.big.filter.on_shortfall=fill"])
    texts = {arm.name: arm.text for arm in describe(filled).arms}
    assert texts["big"].endswith("are added and, where these are too few, others")
    assert texts["small"] == "the first of the images that big keeps are added"


def test_paragraph_and_flow_name_the_judge_and_what_it_left_out(judged):
    facts = judged
    text = study_paragraph(facts)
    assert "A reference classifier (small_cnn) decides which are accepted and serves to" in text
    assert "it is trained on real images only, on the same subset" in text
    boxes = {box.title: box for box in stations(facts)}
    makers = ("one generator and one", "reference classifier for", "each regimen and draw")
    assert boxes["3 regimens \u00d7 2 draws"].aside == makers
    assert boxes["5 arms"].aside == ("1,800 of 7,200 made", "images not recognised")


def test_a_study_without_judges_names_none(facts):
    boxes = {box.title: box for box in stations(facts)}
    assert boxes["4 regimens \u00d7 3 draws"].aside == (
        "one generator for each",
        "regimen and draw",
    )
    assert boxes["5 arms"].aside == ()
    assert "reference classifier" not in study_paragraph(facts)


@pytest.mark.parametrize(
    ("fit_on", "reference", "makers"),
    [
        ("train", "", ("one generator for each", "draw")),
        ("train", "original", ("one generator and one", "reference classifier for", "each draw")),
        (
            "subset",
            "train",
            (
                "one generator for each",
                "regimen and draw",
                "one reference classifier",
                "for each draw",
            ),
        ),
        ("external", "", ("images made elsewhere",)),
    ],
)
def test_the_flow_tells_what_each_maker_is_fitted_on(facts, fit_on, reference, makers):
    design = dataclasses.replace(facts.design, fit_on=fit_on, reference=reference)
    box = stations(dataclasses.replace(facts, design=design))[2]
    assert box.aside == makers


@pytest.fixture
def external(tmp_path):
    table = tmp_path / "made" / "list.csv"
    table.parent.mkdir()
    Image.new("L", (8, 8)).save(table.parent / "one.png")
    table.write_text("path,label\none.png,8\n")
    options = f"table: {table}, label_column: label, lineage: independent, declared: by hand"
    return table, load(
        "digits",
        [f"generator={{name: external, {options}}}", "gan_training.fit_on=external", *JUDGED[1:4]],
    )


def test_images_made_elsewhere_are_told_with_table_and_provenance(external, tmp_path):
    table, study = external
    store = open_store(tmp_path / "store")
    facts = gather(study, store, build(study, store))
    assert facts.external == External(str(table), "by hand", independent=True)
    assert facts.planned["generator"] == (0, 0)
    assert "The images were made elsewhere: nothing was fitted here" in study_paragraph(facts)
    assert {a.name: a.text for a in facts.design.arms}["gan"] == "images made elsewhere are added"


def test_what_was_declared_when_images_were_taken_over_stands(external, tmp_path):
    _, study = external
    store = open_store(tmp_path / "store")
    task = next(t for t in build(study, None).tasks.values() if t.kind == "synthesize")
    with draft(store, "synthetic", task.id, inputs={}) as made:
        made.info.update(table="/then/list.csv", declared="as it was said then\n")
    facts = gather(study, store, build(study, store))
    assert facts.external == External("/then/list.csv", "as it was said then", independent=True)


def test_trained_generators_are_not_called_external(judged):
    assert judged.external is None


def test_a_sheet_that_is_gone_is_a_clear_error(study, tmp_path):
    store = open_store(tmp_path)
    plan = fill(study, store, ("prepare", "train_gan"))
    for path in (tmp_path / "generator").rglob("step-*.png"):
        path.unlink()
    with pytest.raises(DamagedArtifactError, match=r"step-000000003\.png is missing"):
        gather(study, store, plan)
