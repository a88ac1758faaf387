"""Audits of published tables: the paper's own figures, small ones by hand, and what is printed."""

import io
import json
import math
import sys

import numpy as np
import pytest
import yaml
from rich.console import Console

from synthtrial import cli
from synthtrial.audit import audit
from synthtrial.audit.views import audit_json, show_audit
from synthtrial.published import load_published
from synthtrial.stats.auc import hanley_mcneil_se


@pytest.fixture(scope="module")
def paper():
    return audit(load_published("chexpert_paper"))


@pytest.fixture
def table(tmp_path):
    """Audit a small table with changes."""

    def make(**changes):
        given = {
            "name": "small",
            "title": "A small table",
            "source": "nowhere",
            "rows": 1000,
            "positives": {"a": 100, "b": 50},
            "target": 0.25,
            "test": {"rows": 200, "positives": {"a": 20, "b": 10}},
            "arms": ["none", "gan"],
            "regimens": [{"label": "tenth", "rows": 100}, {"label": "all", "rows": 1000}],
            "images": {
                "tenth": {"synthetic": {"a": 30, "b": 40}, "total": 170},
                "all": {"synthetic": {"a": 300, "b": 400}},
            },
            "scores": {
                "tenth": {"a": {"none": 0.6, "gan": 0.8}, "b": {"none": 0.5, "gan": 0.49}},
                "all": {"a": {"none": 0.85, "gan": 0.86}, "b": {"none": 0.7, "gan": 0.7}},
            },
            **changes,
        }
        path = tmp_path / "small.yaml"
        path.write_text(yaml.safe_dump({k: v for k, v in given.items() if v is not ...}))
        return audit(load_published(path))

    return make


def claimed(table, kind, **settings):
    claim = {"says": "so", "where": "here", "kind": kind, "arms": ["gan"], "than": ["none"]}
    (verdict,) = table(claims=[{**claim, **settings}]).verdicts
    return verdict


def printed(found):
    stream = io.StringIO()
    show_audit(Console(file=stream, highlight=False, soft_wrap=True, markup=False), found)
    return stream.getvalue()


def by_place(rows):
    return {(row.regimen, row.class_): row for row in rows}


# -- the paper


def test_one_printed_total_of_the_paper_is_wrong(paper):
    assert [row.total for row in paper.sums] == [3600, 31371, 147850, 296391]
    assert [row.regimen for row in paper.sums if not row.holds] == ["10 %"]
    assert [row.what for row in paper.shares if not row.holds] == ["test set"]


def test_the_papers_counts_overshoot_when_small_and_fall_short_when_large(paper):
    shares = by_place(paper.prevalences)
    for name in paper.table.classes:
        assert shares["1 %", name].expected == pytest.approx(0.185, abs=0.004)
        assert shares["10 %", name].standing == "reached"
    for regimen in ("50 %", "100 %"):
        for name in ("Pleural Other", "Fracture"):
            assert 0.144 < shares[regimen, name].expected < 0.1475
            assert shares[regimen, name].standing == "short"
        assert shares[regimen, "Lung Lesion"].expected == pytest.approx(0.1493, abs=2e-4)


def test_the_fewest_counts_of_the_paper_reach_the_target_and_one_image_less_does_not(paper):
    table = paper.table

    def reaches(size, needed):
        total = size + sum(needed.values())
        for name in table.classes:
            real = round(size * table.prevalence(name))
            share = {p: table.cooccurrence[p].get(name, 1.0) for p in needed}
            if real + sum(n * share[p] for p, n in needed.items()) < 0.15 * total:
                return False
        return True

    for row, size in zip(paper.fewest, [2050, 20371, 100850, 201391], strict=True):
        assert row.regimen == table.regimen(size).label
        assert reaches(size, row.needed)
        for name in table.classes:
            assert not reaches(size, {**row.needed, name: row.needed[name] - 1})
    assert paper.fewest[0].ratio == pytest.approx(1550 / 1008)
    assert paper.fewest[3].ratio < 1


def test_the_papers_standard_errors(paper):
    errors = {(row.regimen, row.class_, row.arm): row for row in paper.errors}
    assert len(errors) == 36
    for (_, name, _), row in errors.items():
        low, high = {"Pleural Other": (0.0118, 0.0123)}.get(name, (0.0077, 0.0099))
        assert low < row.se < high
    row = errors["100 %", "Fracture", "gan"]
    assert row.se == hanley_mcneil_se(0.807, row.n_positive, row.n_negative)


def test_no_difference_of_the_large_regimens_can_be_told_by_the_papers_test_set(paper):
    told = {(d.regimen, d.class_, d.arm, d.than) for d in paper.differences if d.paired.exceeds}
    assert {place[0] for place in told} == {"1 %", "10 %"}
    assert ("1 %", "Fracture", "gan", "none") in told
    assert ("1 %", "Pleural Other", "gan", "none") not in told
    gains = [d for d in paper.differences if (d.arm, d.than) == ("gan", "none")]
    assert all(abs(d.paired.z) < 1 for d in gains if d.regimen in ("50 %", "100 %"))
    for item in paper.differences:
        assert item.paired.detectable < item.independent.detectable
        assert item.paired.exceeds or not item.independent.exceeds


def test_the_papers_claims(paper):
    fails = {
        verdict.claim.says: [(cell.regimen, cell.class_) for cell in verdict.failed]
        for verdict in paper.verdicts
        if not verdict.holds
    }
    assert len(paper.verdicts) == 19
    assert len(fails) == 7
    says = "at 1 % standard augmentation also improves on none, for every class"
    assert fails[says] == [("1 %", "Pleural Other")]
    says = "GAN images gain over none and over standard across sizes and classes"
    assert fails[says] == [
        ("50 %", "Pleural Other"),
        ("100 %", "Lung Lesion"),
        ("100 %", "Fracture"),
    ]
    says = "the counts are the fewest that do"
    assert fails[says] == [("1 %", "all"), ("50 %", "all"), ("100 %", "all")]


# -- small tables


def test_bounds_of_a_share_by_hand(table):
    row = by_place(table().prevalences)["tenth", "a"]
    assert row.low == pytest.approx((10 + 30) / 170)
    assert row.high == pytest.approx((10 + 70) / 170)
    assert row.expected is None
    assert math.isnan(row.deviation)
    assert row.standing == "open"
    assert by_place(table(target=0.2).prevalences)["tenth", "a"].standing == "reached"
    assert by_place(table(target=0.5).prevalences)["tenth", "a"].standing == "short"
    assert by_place(table(target=...).prevalences)["tenth", "a"].standing == ""


def test_an_expected_share_and_its_spread_are_those_of_the_draws(table):
    row = by_place(table(cooccurrence={"a": {"b": 0.5}, "b": {"a": 0.2}}).prevalences)["tenth", "a"]
    assert row.expected == pytest.approx((10 + 30 + 40 * 0.2) / 170)
    assert row.low < row.expected < row.high
    random = np.random.default_rng(1)
    real = random.hypergeometric(100, 900, 100, 20000)
    drawn = (real + 30 + random.binomial(40, 0.2, 20000)) / 170
    assert row.expected == pytest.approx(drawn.mean(), abs=1e-3)
    assert row.deviation == pytest.approx(drawn.std(), rel=0.03)


def test_without_cooccurrence_the_fewest_are_those_of_classes_apart(table):
    (tenth, _) = table().fewest
    total = 100 + sum(tenth.needed.values())
    assert 10 + tenth.needed["a"] == 5 + tenth.needed["b"] == math.ceil(total / 4)


def test_a_target_that_cannot_be_reached_says_so(table):
    found = table(target=0.6)
    assert all(row.needed is None and "0.6" in row.why for row in found.fewest)
    assert all(math.isnan(row.ratio) for row in found.fewest)
    assert "tenth, all: if no image held a second class, no number of added" in printed(found)
    claim = {"says": "so", "where": "here", "kind": "minimum", "tolerance": 0.0}
    apart = {"a": {"b": 0.0}, "b": {"a": 0.0}}
    assert table(target=0.6, claims=[claim]).verdicts[0].holds  # not refuted
    assert not table(target=0.6, claims=[claim], cooccurrence=apart).verdicts[0].holds


@pytest.mark.parametrize(
    ("kind", "settings", "failed"),
    [
        ("above", {}, [("tenth", "b"), ("all", "b")]),  # equal scores are no gain
        ("above", {"classes": ["a"]}, []),
        ("above", {"regimens": ["tenth"], "mean": True}, []),
        ("above", {"arms": ["none"], "than": ["gan"], "regimens": ["tenth"]}, [("tenth", "a")]),
        ("margin", {"value": 0.2, "tolerance": 0.0, "regimens": ["tenth"], "classes": ["a"]}, []),
        ("margin", {"value": 0.0, "tolerance": 0.01}, [("tenth", "a")]),
        ("at_most", {"value": 0.01}, [("tenth", "a")]),
        ("falls", {}, [("tenth and all", "b")]),
        ("larger", {"regimens": ["tenth"], "others": ["all"]}, [("tenth and all", "b")]),
        ("larger", {"regimens": ["tenth"], "others": ["all"], "mean": True}, []),
        ("reaches", {"classes": ["a"]}, []),  # open between the bounds: not refuted
        ("minimum", {"tolerance": 0.0}, []),
    ],
)
def test_claims_of_every_kind(table, kind, settings, failed):
    verdict = claimed(table, kind, **settings)
    assert [(cell.regimen, cell.class_) for cell in verdict.failed] == failed
    assert verdict.holds == (not failed)


def test_a_claim_says_how_many_of_its_differences_the_test_set_can_tell(table):
    few = {"rows": 200, "positives": {"a": 5, "b": 5}}
    many = {"rows": 20000, "positives": {"a": 2000, "b": 1000}}
    claim = {"says": "so", "where": "here", "kind": "above", "arms": ["gan"], "than": ["none"]}
    other = {**claim, "arms": ["none"], "than": ["gan"]}
    falls, mean = {**claim, "kind": "falls"}, {**claim, "mean": True}
    for test, told in ((few, [0, 0, None, None]), (many, [1, 0, None, None])):
        found = table(test=test, claims=[claim, other, falls, mean])
        assert [verdict.told for verdict in found.verdicts] == told


def test_scores_alone_and_counts_alone_can_be_audited(table):
    scores = table(images=...)
    assert not scores.sums
    assert not scores.prevalences
    assert len(scores.differences) == 4
    counts = table(scores=...)
    assert not counts.differences
    assert len(counts.sums) == 2
    assert counts.sums[1].holds is None
    assert "What the test set can tell" not in printed(counts)
    assert "Sums" not in printed(scores)


@pytest.mark.parametrize("changes", [{"test": ...}, {"metric": "accuracy"}])
def test_without_a_test_set_or_an_auc_there_are_differences_but_no_errors(table, changes):
    found = table(**changes)
    assert not found.errors
    assert all(item.paired is None for item in found.differences)
    assert "no standard errors" in printed(found)


def test_a_perfect_score_has_no_z(table):
    scores = {name: {c: {"none": 1.0, "gan": 1.0} for c in "ab"} for name in ("tenth", "all")}
    found = audit_json(table(scores=scores))
    assert found["differences"][0]["paired"]["z"] is None
    json.dumps(found, allow_nan=False)


# -- what is printed


def test_every_table_has_a_reading_beneath(paper):
    text = printed(paper)
    assert text.count("  -> ") >= 8
    for said in (
        "10 % must be 31,371, not 49,829",
        "22,023 of 223,414 rows are 9.9 %, not 5 %",
        "6 of 12 fall short",
        "0 of 9 at 100 % (0 with r=0)",
        "12 of 19 claims hold",
        "1 %, Pleural Other: standard 0.550, none 0.566 (-0.016)",
    ):
        assert said in text
    assert "…" not in text, "a column is cut off"


def test_json_holds_what_was_found(paper):
    found = json.loads(json.dumps(audit_json(paper), allow_nan=False))
    assert found["table"] == "chexpert_paper"
    assert [row["holds"] for row in found["sums"]] == [True, False, True, True]
    assert found["prevalences"][0]["class"] == "Lung Lesion"
    assert found["prevalences"][0]["standing"] == "reached"
    assert len(found["differences"]) == len(found["errors"]) == 36
    assert sum(claim["holds"] for claim in found["claims"]) == 12


@pytest.fixture
def command(monkeypatch, capsys):
    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["synthtrial", "audit", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        captured = capsys.readouterr()
        return stop.value.code or 0, captured.out, captured.err

    return call


def test_the_verb_exits_with_0_whatever_the_verdicts(command):
    code, out, _ = command("chexpert_paper")
    assert code == 0
    assert "FAILS" in out
    code, out, _ = command("chexpert_paper", "correlation=0", "--json")
    assert code == 0
    assert {row["paired"]["correlation"] for row in json.loads(out)["differences"]} == {0}


@pytest.mark.parametrize(
    "arguments", [["paper"], ["chexpert_paper", "scores.1 %.Fracture.gan=1.2"], ["none.yaml"]]
)
def test_bad_input_is_one_error_and_exits_with_2(command, arguments):
    code, out, err = command(*arguments)
    assert code == 2
    assert not out
    assert err.count("error: ") == 1
