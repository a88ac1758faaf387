from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from synthtrial.errors import ConfigError
from synthtrial.study import load, shipped_engines, shipped_folder, shipped_studies


def test_no_question_may_be_said_with_null():
    study = load("digits", ["statistics.primary=null"])
    assert study.settings.statistics.primary.arm is None
    assert study.settings.statistics.margin == 0.02, "the rest is as it was"


def test_a_section_that_is_null_is_as_by_default_at_any_depth():
    for section in ("cams", "protocol.asha"):
        assert load("digits", [f"{section}=null"]).digest == load("digits").digest


def test_nothing_is_shipped_that_no_test_loads():
    known = {*shipped_studies().values(), *shipped_engines().values()}
    published = set((shipped_folder() / "published").glob("*.yaml"))  # by tests/published
    assert set(shipped_folder().rglob("*.yaml")) == known | published


@pytest.mark.parametrize("name", shipped_studies())
def test_every_shipped_study_loads(name):
    assert load(name).name == name


@pytest.mark.parametrize("name", shipped_engines())
def test_every_shipped_engine_loads_and_overrides_win(name):
    study = load("digits", ["engine.workers=3"], name)
    assert (study.settings.engine.name, study.settings.engine.workers) == (name, 3)


def test_the_digits_study_is_what_its_documentation_says():
    study = load("digits")
    assert list(study.arms) == ["none", "standard", "gan", "class_weights", "oversample_matched"]
    assert len(study.configurations) == 18
    assert study.settings.regimens == [0.1, 0.25, 0.5, 1.0]
    assert (study.draws, study.settings.protocol.replicates) == (6, 6)
    assert study.settings.imbalance.classes == study.minority == ["8", "9"]
    assert study.arms["class_weights"].settings.class_weights == "balanced"
    assert study.arms["oversample_matched"].balance == study.arms["gan"].balance


def test_overrides_apply_in_order_and_are_typed():
    study = load("digits", ["training.epochs=3", "training.epochs=4", "arms.gan.sampler=balanced"])
    assert study.settings.training.epochs == 4
    assert study.arms["gan"].settings.sampler == "balanced"
    assert study.arms["gan"].settings.synthetic


def test_a_snapshot_reads_back_as_the_same_study(tmp_path):
    study = load("digits", ["seed=5", "arms.extra.augment=[{name: flip, vertical: 0.0}]"])
    path = tmp_path / "snapshot.yaml"
    path.write_text(study.snapshot())
    again = load(path)
    assert again.settings == study.settings
    assert again.digest == study.digest
    assert again.configurations == study.configurations
    assert again.arms["extra"].augment == study.arms["extra"].augment


def test_a_component_may_say_itself_what_ids_keep_of_its_options():
    def identity(*options):
        section = ", ".join(["name: fashion_mnist", *options])
        return load("digits", [f"dataset={{{section}}}"]).dataset.identity

    plain = {"name": "fashion_mnist", "version": 1}
    assert identity() == identity("path: /elsewhere") == plain
    assert identity("path: /elsewhere", "parts: test") == {**plain, "parts": "test"}


def test_draws_default_to_one_for_each_replicate():
    assert load("digits", ["protocol.draws=null", "protocol.replicates=4"]).draws == 4


def test_grid_values_take_the_type_of_the_setting():
    study = load("digits", ["grid={learning_rate: [1], batch_size: ['8']}"])
    assert study.configurations == ({"learning_rate": 1.0, "batch_size": 8},)
    assert isinstance(study.configurations[0]["learning_rate"], float)


def test_an_override_of_a_whole_open_section_leaves_nothing_of_it():
    study = load("digits", ["arms={none: {}, class_weights: {}}", "generator=null"])
    assert list(study.arms) == ["none", "class_weights"]
    assert study.generator is None


def test_with_the_arms_goes_what_was_asked_about_them(tmp_path):
    arms = "arms={none: {}, class_weights: {}}"
    assert load("digits", [arms]).settings.statistics.primary.arm is None
    asked = load("digits", ["statistics.primary.arm=class_weights", arms])
    assert asked.settings.statistics.primary.arm == "class_weights"
    path = tmp_path / "mine.yaml"
    path.write_text("base: digits\nname: mine\narms: {none: {}, other: {synthetic: true}}\n")
    found = load(path).settings.statistics
    assert (found.primary.arm, found.margin) == (None, 0.02)
    kept = load("digits", ["arms={none: {}, gan: {synthetic: true}}"])
    assert kept.settings.statistics.primary.arm == "gan"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("traning.epochs=3", "unknown setting 'traning': did you mean 'training'?"),
        ("training.epoch=3", "unknown setting 'training.epoch': did you mean 'epochs'?"),
        ("training.epochs=many", "setting 'training.epochs': Value 'many'"),
        ("split=3", "a section takes"),
        ("dataset=digits", "setting 'dataset': .* a section takes settings as 'key: value'"),
        ("regimens=1.0", r"setting 'regimens': it takes a list, such as \[VALUE\]"),
        ("grid.learning_rate=0.1", "setting 'grid.learning_rate': it takes a list"),
        ("metrics=recall", "setting 'metrics': it takes a list"),
        ("arms.gan.sampler=even", r"expected one of \['shuffle', 'balanced'\]"),
        ("arms.gan.balance.trget=0.1", "did you mean 'target'?"),
        ("arms.mixup={}", "the arm 'mixup' is empty and no installed arm has that name"),
        ("arms.x.preset=standrd", "unknown arm 'standrd': did you mean 'standard'?"),
        ("arms.x.repeat=gam", "did you mean 'gan'?"),
        ("arms.x.augment=[{name: shfit}]", "unknown augmentation 'shfit'"),
        ("arms.x.augment=[{name: shift, pixel: 2}]", "did you mean 'pixels'?"),
        ("dataset.name=digit", "unknown dataset 'digit': did you mean 'digits'?"),
        ("classifier.name=resnet", "unknown classifier 'resnet'"),
        ("generator.name=vae", "unknown generator 'vae'"),
        ("generator.name=null", "the section 'generator' must name one"),
        ("dataset.name=null", "the section 'dataset' must name one"),
        ("grid={rate: [1]}", "unknown axis 'rate'"),
        ("grid={batch_size: []}", "has no values"),
        ("grid={batch_size: [big]}", "batch_size"),
        ("regimens=[.nan]", "give a fraction up to 1 or a whole number"),
        ("regimens=[.inf]", "give a fraction up to 1 or a whole number"),
        ("grid.batch_size=[0]", "training.batch_size is 0; allowed: at least 1"),
        ("grid.learning_rate=[.nan]", "training.learning_rate is nan; allowed: above 0"),
        ("grid.optimizer=[adam,adam]", "give each value once"),
        ("training.epochs=-3", "training.epochs is -3"),
        ("gan_training.steps=0", "gan_training.steps is 0"),
        ("engine.workers=-1", "engine.workers is -1; allowed: at least 1"),
        ("store.shard_bytes=0", "store.shard_bytes is 0"),
        ("statistics.primary.arm=gann", "'gann' is no arm that is compared .* did you mean 'gan'"),
        ("statistics.primary.arm=none", "'none' is no arm that is compared with the baseline"),
        ("statistics.primary.regimens=[0.2]", "0.2 is none of the study's regimens"),
        ("statistics.family=[gan, gan]", "statistics.family names an arm twice"),
        ("statistics.margin=0", "statistics.margin is 0.*; allowed: above 0"),
        ("statistics.spread=both", "statistics.spread"),
        ("protocol.draws=0", "protocol.draws is 0"),
        ("regimens=[0]", "give a fraction up to 1 or a whole number"),
        ("regimens=[1.5]", "give a fraction up to 1 or a whole number"),
        ("regimens=[0.1,0.1]", "one is given twice"),
        ("regimens=[]", "there are none"),
        ("split.test=1.2", "must lie between 0 and 1"),
        ("imbalance.remove=1.0", "allowed: 0 to below 1"),
        ("protocol.draws=9", "9 draws and 6 replicates"),
        ("protocol.select_by=auc", "which metrics does not list"),
        ("metrics=[accuracy,recal]", "unknown metric 'recal'"),
        ("statistics.baseline=nothing", "unknown arm 'nothing'"),
        ("balance.target=null", "give either target or count"),
        ("balance.count=10", "give either target or count"),
        ("balance.target=1.5", "allowed: between 0 and 1"),
        ("name=a b", "use letters, digits"),
        ("name=null", "name"),
    ],
)
def test_a_mistake_is_one_clear_error(override, message):
    with pytest.raises(
        ConfigError, match=message.replace("?", r"\?") if "?" in message else message
    ):
        load("digits", [override])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "not readable YAML"),
        ("- a\n- b\n", "must hold settings"),
        ("seed: 1\n", "the setting 'name' is missing"),
        ("name: x\narms: [none]\n", "arms must map"),
        ("name: x\narms: {none: {}}\nclassifier: {name: small_cnn}\n", "must name one"),
    ],
)
def test_a_file_that_is_no_study_is_refused(tmp_path, text, message):
    path = tmp_path / "study.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        load(path)


def test_an_unknown_study_is_answered_with_those_there_are():
    with pytest.raises(ConfigError, match="unknown study 'digit': did you mean 'digits'"):
        load("digit")
    with pytest.raises(ConfigError, match=r"no study file .*nowhere.yaml; shipped: .*digits"):
        load("nowhere.yaml")


def test_an_override_without_a_value_is_refused():
    with pytest.raises(ConfigError, match="not of the form key=value"):
        load("digits", ["training.epochs"])


def test_names_in_a_study_cannot_make_python_import_anything(tmp_path):
    path = tmp_path / "study.yaml"
    path.write_text("name: x\ndataset: !!python/object/apply:os.getcwd []\n")
    with pytest.raises(ConfigError, match="not readable YAML"):
        load(path)


def test_shipped_studies_are_found_wherever_the_working_directory_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert isinstance(shipped_studies()["digits"], Path)
    assert dataclasses.is_dataclass(load("digits").settings)


def test_a_study_may_say_only_what_differs_from_another(tmp_path):
    child = tmp_path / "child.yaml"
    child.write_text(
        "base: digits\nname: child\ntraining: {epochs: 3}\n"
        "arms: {none: {}, gan: {synthetic: true}}\n"
    )
    study, parent = load(child), load("digits")
    assert study.name == "child"
    assert list(study.arms) == ["none", "gan"]  # what the user names is replaced, ...
    assert study.settings.training.epochs == 3
    assert study.settings.training.checkpoint == "best"  # ... what has fields is merged
    assert study.configurations == parent.configurations
    assert study.settings.regimens == parent.settings.regimens
    grandchild = tmp_path / "grandchild.yaml"
    grandchild.write_text("base: child.yaml\nname: grandchild\nseed: 7\n")
    assert load(grandchild).settings.training.epochs == 3
    assert load(grandchild, ["training.epochs=5"]).settings.training.epochs == 5


def test_a_base_that_is_missing_or_leads_back_is_one_error(tmp_path):
    study = tmp_path / "study.yaml"
    study.write_text("base: digit\nname: study\n")
    with pytest.raises(ConfigError, match="unknown study 'digit': did you mean 'digits'"):
        load(study)
    study.write_text("base: other.yaml\nname: study\n")
    (tmp_path / "other.yaml").write_text("base: study.yaml\nname: other\n")
    with pytest.raises(ConfigError, match="leads back to this study"):
        load(study)


def test_the_chest_studies_differ_where_their_documentation_says():
    strict, twin, paper, run = map(
        load, ("chexpert", "chexpert_train", "chexpert_paper", "chexpert_as_run")
    )
    assert not strict.settings.allow_leakage
    assert strict.settings.split.by == "group"
    assert len(strict.configurations) == len(paper.configurations) == 18
    assert (strict.settings.gan_training.fit_on, twin.settings.gan_training.fit_on) == (
        "subset",
        "train",
    )
    assert twin.arms.keys() == strict.arms.keys()
    assert list(paper.arms) == list(run.arms) == ["none", "standard", "gan"]
    assert paper.settings.allow_leakage
    assert run.settings.allow_leakage
    assert run.settings.split.validation_made
    assert (run.settings.split.by, run.settings.split.test_by) == ("image", "group")
    assert run.settings.protocol.select_by == "neg_log_loss"
    assert run.arms["standard"].settings.augment_only == list(strict.minority)
    assert run.generator.name == "external"
    assert len(run.dataset.load().classes) == 13
    assert len(strict.dataset.load().classes) == 14


POOL_AND_LESS = (
    "arms={none: {}, pool: {synthetic: true, filter: {}}, "
    "less: {synthetic: true, dose_of: pool, gan_training: {steps: 9}}}"
)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("arms.long.steps_of=long", "no other arm that adds synthetic images, or nothing"),
        (
            "arms={none: {}, gan: {synthetic: true}, a: {steps_of: gan}, b: {steps_of: a}}",
            "has no steps_of itself",
        ),
        ("statistics.minority=[8,8]", "a class of interest is named twice"),
        ("arms.odd.shuffle_labels=true", "adds no synthetic images that have labels"),
        ("arms.odd.augment_only=[8]", "augment_only: it has no transforms"),
        ("training.smoothing=[0.9, 0.1]", "the smallest and the largest number"),
        ("training.smoothing=[0.9]", "the smallest and the largest number"),
        ("arms.original.fit_on=original", "fit_on=original has no smaller parts, and regimens is"),
        ("arms.gan.fit_on=original", "nothing is missing there, so it cannot add images"),
        ("arms.gan.gan_training.steps=many", "arms.gan.gan_training.steps: "),
        (
            "arms={none: {}, gan: {synthetic: true}, o: {fit_on: original}, a: {steps_of: o}}",
            "to the regimen's own rows, and has no",
        ),
        ("arms.x.gan_training.steps=9", "gan_training: it adds no synthetic images"),
        ("arms.gan.gan_training.step=9", "arms.gan.gan_training.step: did you mean 'steps'"),
        ("arms.gan.gan_training.steps=0", "arms.gan.gan_training.steps is 0; allowed: at least 1"),
        ("arms.gan.gan_training.ema=2", "arms.gan.gan_training.ema is 2"),
        ("arms.gan.gan_training.fit_on=external", "arms.gan.gan_training.fit_on=external do not"),
        (
            POOL_AND_LESS,
            "its images are those of 'pool'; set it there",
        ),
        ("arms.x.repeat=none", "repeat: 'none' is not an arm that adds synthetic images"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(override, message):
    with pytest.raises(ConfigError, match=message):
        load("digits", [override])


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["generator={name: external, table: x}", "gan_training.fit_on=external"],
            "gan_training: the generator 'external' is not trained here",
        ),
        (["imbalance.remove=0"], "nothing is taken away"),
        (["reference.arm=original"], "set reference.fit_on=original for a judge"),
    ],
)
def test_the_original_data_and_generators_of_their_own_need_what_they_are_about(overrides, message):
    arms = (
        "arms={none: {}, original: {fit_on: original}, "
        "gan: {synthetic: true, gan_training: {ema: 0.9}}}"
    )
    with pytest.raises(ConfigError, match=message):
        load("digits", ["regimens=[1.0]", arms, *overrides])
