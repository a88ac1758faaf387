"""All findings of a study: their order, and as data."""

import dataclasses
import json

from synthtrial.declared import Change
from synthtrial.history import History
from synthtrial.report import findings
from synthtrial.report.looks import with_looks


def test_every_arm_regimen_and_target_has_its_sentence_the_primary_first(whole, differences):
    found = findings.findings(whole, differences)
    assert len(found) == 4 * 4 * 4  # arms, regimens; minority, overall, 8, 9
    assert [f.role for f in found[:3]] == ["primary", "primary", "exploratory"]
    assert len({f.sentence for f in found}) == len(found)


def test_findings_in_json_hold_the_design_and_no_nan(whole, differences):
    text = findings.as_json(whole, findings.findings(whole, differences))
    read = json.loads(text)
    assert read["primary"]["arm"] == "gan"
    assert read["family"] == ["standard", "gan", "class_weights", "oversample_matched"]
    assert "NaN" not in text
    assert read["findings"][0]["both_low"] < read["findings"][0]["low"]
    assert (read["history"], read["primary_after_results_of"]) == ([], 0)


def test_findings_in_json_tell_what_came_after_results(whole):
    changed = [Change("arm", "standard", "gan", 6), Change("margin", None, 0.02, 4)]
    design = with_looks(whole.design, History(8), changed)
    read = json.loads(findings.as_json(dataclasses.replace(whole, design=design), []))
    assert (read["primary_after_results_of"], read["margin_after_results_of"]) == (6, 4)
    assert read["history"] == list(design.looks)
    assert len(read["history"]) == 2
