"""Published tables as data: what can be looked up, and how mistakes are said."""

import math

import pytest
import yaml

from synthtrial.errors import ConfigError
from synthtrial.published import load_published, shipped_published


@pytest.fixture(scope="module")
def paper():
    return load_published("chexpert_paper")


@pytest.fixture
def small(tmp_path):
    """Write a small table with changes, and return its path."""

    def write(**changes):
        table = {
            "name": "small",
            "title": "A small table",
            "source": "nowhere",
            "rows": 1000,
            "positives": {"a": 100, "b": 50},
            "test": {"rows": 200, "positives": {"a": 20, "b": 10}},
            "arms": ["none", "gan"],
            "regimens": [
                {"label": "10 %", "rows": 80, "share": 0.1},
                {"label": "all", "rows": 800},
            ],
            "scores": {
                "10 %": {"a": {"none": 0.6, "gan": 0.7}, "b": {"none": 0.5, "gan": 0.6}},
                "all": {"a": {"none": 0.8, "gan": 0.8}, "b": {"none": 0.7, "gan": 0.6}},
            },
            **changes,
        }
        path = tmp_path / "small.yaml"
        path.write_text(yaml.safe_dump({k: v for k, v in table.items() if v is not ...}))
        return path

    return write


def refusal(table, *overrides):
    with pytest.raises(ConfigError) as caught:
        load_published(table, overrides)
    return str(caught.value)


@pytest.mark.parametrize("which", ["1 %", "1%", 0.01, 2050])
def test_a_regimen_is_found_by_label_share_and_rows(paper, which):
    assert paper.regimen(which).label == "1 %"
    assert paper.score(which, "Pleural Other", "standard") == 0.550
    assert paper.synthetic(which, "Pleural Other") == 550
    assert paper.total(which) == paper.printed_total(which) == 3600


def test_the_printed_total_may_differ_from_the_sum(paper):
    assert (paper.total("10 %"), paper.printed_total("10 %")) == (31371, 49829)
    assert paper.total(1.0) == 296391


@pytest.mark.parametrize(
    ("regimen", "class_", "arm"),
    [
        ("2 %", "Fracture", "gan"),
        (0.3, "Fracture", "gan"),
        (0.01, "Edema", "gan"),
        (1.0, "Fracture", "x"),
    ],
)
def test_what_the_table_does_not_hold_is_none(paper, regimen, class_, arm):
    assert paper.score(regimen, class_, arm) is None


def test_printed_gaps_are_found_by_regimen_and_arm(paper):
    assert (paper.gap("1 %", "none"), paper.gap(0.01, "gan")) == (0.06, 0.03)
    assert paper.gap(0.1, "none") == 0.04
    assert paper.gap(1.0, "gan") is None
    assert paper.gap("1 %", "standard") is None
    assert paper.gap("2 %", "gan") is None


@pytest.mark.parametrize(
    ("gaps", "message"),
    [
        ({"5 %": {"gan": 0.1}}, "gaps: unknown '5 %'"),
        ({"all": {"gans": 0.1}}, "gaps.all: unknown 'gans'"),
        ({"all": {"gan": math.inf}}, "gaps.all.gan is inf"),
    ],
)
def test_gaps_of_what_is_unknown_are_refused(small, gaps, message):
    assert message in refusal(small(gaps=gaps))


def test_a_table_without_counts_has_no_totals(small):
    table = load_published(small())
    assert table.total("all") is table.printed_total("all") is table.synthetic("all", "a") is None
    assert table.score("all", "b", "gan") == 0.6
    assert table.synthetic("none such", "a") is table.total(0.7) is None


def test_test_positives_are_counted_or_expected(small, paper):
    assert load_published(small()).test_positives("b") == 10
    assert paper.test_positives("Pleural Other") == pytest.approx(22023 * 0.0276)
    assert load_published(small(test=...)).test_positives("a") is None


def test_the_shipped_table_holds_every_cell(paper):
    assert "chexpert_paper" in shipped_published()
    assert paper.labels == ["1 %", "10 %", "50 %", "100 %"]
    assert paper.classes == ["Lung Lesion", "Pleural Other", "Fracture"]
    scores = [paper.score(r, c, a) for r in paper.labels for c in paper.classes for a in paper.arms]
    assert len(scores) == 36
    assert all(0.5 < score < 0.9 for score in scores)
    assert paper.prevalence("Pleural Other") == pytest.approx(0.0276, abs=5e-5)
    assert all(
        math.isclose(paper.test.prevalence[c], paper.prevalence(c), rel_tol=3e-3)
        for c in paper.classes
    )


def test_overrides_change_numbers_and_null_takes_a_section_away():
    assert load_published("chexpert_paper", ["correlation=0"]).correlation == 0
    changed = load_published("chexpert_paper", ["test.rows=11170", "scores.1 %.Fracture.gan=0.6"])
    assert changed.test.rows == 11170
    assert changed.score("1 %", "Fracture", "gan") == 0.6
    assert load_published("chexpert_paper", ["arms=[gan, none, standard]"]).arms[0] == "gan"
    assert load_published("chexpert_paper", ["cooccurrence=null"]).cooccurrence == {}


@pytest.mark.parametrize(
    ("override", "said"),
    [
        (
            "scores.1 %.Fracture.gan=1.2",
            "scores.1 %.Fracture.gan is 1.2; an AUC lies between 0 and 1",
        ),
        ("scores.1 %.Fracture.gan=nan", "is nan"),
        ("scores.1 %.Fracture.gam=0.5", "did you mean 'gan'? Allowed: gan, none, standard."),
        ("scores.1 %.Edema={none: 0.5}", "scores.1 %: unknown 'Edema'"),
        ("rows=many", "setting 'rows': Value 'many'"),
        ("rows=5000", "positives.Lung Lesion is 10674; allowed: above 0, below rows (5000)"),
        ("colour=red", "unknown setting 'colour'"),
        ("colour", "'colour' is not of the form key=value"),
        ("test=5", "a section takes settings as 'key: value'"),
        ("test.rows=20", "leaves at least one positive"),
        ("test.positives={Fracture: 4}", "give either 'positives' or 'prevalence'"),
        ("target=15", "target is 15.0; allowed: between 0 and 1"),
        ("correlation=2", "correlation is 2.0; allowed: from -1 to 1"),
        ("images.1 %.synthetic.Fracture=-3", "allowed: 0 or more"),
        ("cooccurrence.Fracture.Lung Lesion=1.5", "P(q|p) lies between 0 and 1"),
        ("cooccurrence={Fracture: {}}", "Lung Lesion, Pleural Other is missing"),
        ("title=null", "mandatory value: title"),
        ("arms=[gan]", "name at least two"),
    ],
)
def test_one_mistake_is_one_error_that_says_what_is_allowed(override, said):
    assert said in refusal("chexpert_paper", override)


CLAIM = {
    "says": "it helps",
    "where": "section 1",
    "kind": "above",
    "arms": ["gan"],
    "than": ["none"],
}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"arms": ["gam"]}, "claim 1 ('it helps'): arms: unknown 'gam': did you mean 'gan'?"),
        ({"regimens": ["20 %"]}, "regimens: unknown '20 %'"),
        ({"classes": ["c"]}, "classes: unknown 'c': allowed: a, b."),
        ({"than": []}, "'arms' and 'than' to compare"),
        ({"kind": "over"}, "expected one of"),
        ({"kind": "margin"}, "the kind 'margin' needs 'value'"),
        ({"kind": "at_most", "value": math.nan}, "value is nan; allowed: a finite number"),
        ({"kind": "larger", "regimens": ["all"]}, "the kind 'larger' needs 'others'"),
        ({"kind": "reaches"}, "needs 'images' and a 'target'"),
    ],
)
def test_a_claim_that_cannot_be_judged_is_refused(small, change, said):
    assert said in refusal(small(claims=[{**CLAIM, **change}]))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"title": ...}, "missing mandatory value: title"),
        ({"scores": ...}, "nothing to audit"),
        ({"scores": {"10 %": {}}}, "scores: all is missing; add it (all of: 10 %, all)"),
        ({"regimens": [{"label": "all", "rows": 9}]}, "scores: unknown '10 %'"),
        ({"regimens": []}, "at least one class and one regimen"),
        ({"regimens": [{"label": "10 %", "rows": 9}, {"label": "all", "rows": 9}]}, "[9, 9]"),
        ({"regimens": [{"label": "all", "rows": 8}, {"label": "al l", "rows": 9}]}, "not distinct"),
        ({"test": {"rows": 200}}, "give either 'positives' or 'prevalence'"),
        ({"test": {"rows": 200, "positives": {"a": 3}}}, "test: b is missing"),
        ({"positives": [1, 2]}, "setting 'positives'"),
        ({"positives": {"a": {"b": 1}}}, "positives.a is {'b': 1}; it takes one value"),
        ({"notes": [["one"]]}, "notes[0] is ['one']; it takes one value"),
        ({"arms": {"none": 1}}, "the section 'arms' has the wrong form"),
        ({"regimens": [{"label": "all", "rows": 8, "share": 0}]}, "share of all is 0.0"),
        ({"regimens": [{"label": "all", "rows": 8000}]}, "8000 rows are more than the 1000"),
    ],
)
def test_sections_must_fit_together(small, change, said):
    assert said in refusal(small(**change))


def test_a_flood_of_problems_is_cut_short():
    text = refusal("chexpert_paper", "regimens=[{label: some, rows: 3}]")
    assert text.count("\n") == 8
    assert "more" in text.splitlines()[-1]


def test_files_that_are_none_are_refused(tmp_path):
    assert "unknown table 'chexpert': did you mean" in refusal("chexpert")
    assert "there is no table file" in refusal(str(tmp_path / "none.yaml"))
    bad = tmp_path / "bad.yaml"
    bad.write_text("a: [1")
    assert "not readable YAML" in refusal(bad)
    bad.write_text("[1, 2]")
    assert "must hold settings" in refusal(bad)
