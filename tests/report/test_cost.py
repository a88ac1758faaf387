"""What a study cost: every hour of it counted, once or for whoever pays it, and none invented."""

import dataclasses
import math

import numpy as np
import pandas as pd
import pytest

from synthtrial.report import cost, inference
from synthtrial.report.facts import DASH, Tariff
from synthtrial.report.page import write_page


@pytest.fixture(scope="module")
def facts(fabricate):
    return fabricate.study(draws=6)


@pytest.fixture(scope="module")
def spent(fabricate, facts):
    """A minute a trial on one processor; at each regimen six generators of an hour each."""
    return fabricate.spend(facts, generator_seconds=1800.0)


def table_of(facts):
    return cost.cost_table(facts, cost.items_table(facts), inference.differences_table(facts))


def cell(table, arm, regimen):
    mine = table[(table.arm == arm) & (table.regimen == regimen)]
    assert len(mine) == 1
    return mine.iloc[0]


def texts(facts, arm, regimen="100 %"):
    rows = dict(cost.cost_view(facts, table_of(facts)))[regimen]
    return {row.arm: row for row in rows}[arm]


def test_hours_of_a_cell_are_those_of_its_trials_and_of_the_images_that_it_needs(spent):
    row = cell(table_of(spent), "gan", 1.0)
    assert row.grid_cpu_hours == pytest.approx(18 / 60)
    assert row.replicates_cpu_hours == pytest.approx(6 / 60)
    images = 6 * (1800 * 2 + 30) / 3600  # two processes train, one makes images, for each draw
    assert row.images_cpu_hours == pytest.approx(images)
    assert row.total_cpu_hours == pytest.approx(24 / 60 + images)
    assert row.total_gpu_hours == row.unknown == 0
    assert cell(table_of(spent), "none", 1.0).images_cpu_hours == 0


def test_what_several_arms_need_counts_whole_for_each_and_once_in_all(spent):
    twin = spent.work.assign(arm="oversample_matched")
    both = dataclasses.replace(spent, work=pd.concat([spent.work, twin], ignore_index=True))
    table = table_of(both)
    images = cell(table, "gan", 0.1).images_cpu_hours
    assert cell(table, "oversample_matched", 0.1).images_cpu_hours == images > 3
    total = cost.total_spent(cost.items_table(both)).cpu_hours
    assert total == cost.total_spent(cost.items_table(spent)).cpu_hours
    assert total == pytest.approx(480 / 60 + 4 * images)


def test_a_point_of_gain_costs_what_the_cell_took_beyond_the_baseline(spent):
    row = cell(table_of(spent), "gan", 0.1)
    differences = inference.differences_table(spent)
    found = differences[
        (differences.arm == "gan")
        & (differences.regimen == 0.1)
        & (differences.scope == "minority")
    ].iloc[0]
    assert row.gain == found.difference > 0.2
    assert row.per_point_cpu_hours == pytest.approx(row.images_cpu_hours / (row.gain / 0.01))
    assert texts(spent, "gan").per_point.endswith(" min")


def test_a_gain_that_is_not_clear_of_zero_has_no_price(spent):
    row = cell(table_of(spent), "standard", 0.1)
    assert row.low < 0 < row.high
    assert math.isnan(row.per_point_cpu_hours)
    view = texts(spent, "standard", "10 %")
    assert (view.per_point, view.small) == ("", "no sure gain")
    assert texts(spent, "class_weights").small == "no extra cost"
    assert texts(spent, "none").per_point == DASH


def test_time_on_gpus_is_apart_and_priced(fabricate, facts):
    tariff = Tariff(gpu_hour=2.0, trials_per_gpu=4)
    found = dataclasses.replace(fabricate.spend(facts, device="cuda:0"), tariff=tariff)
    row = cell(table_of(found), "gan", 1.0)
    assert row.total_cpu_hours == 0
    assert row.grid_gpu_hours == pytest.approx(18 / 60 / 4), "four trials share a GPU"
    assert row.images_gpu_hours == pytest.approx(6 * (1800 * 2 + 30) / 3600), "generators do not"
    assert row.total_price == pytest.approx(2 * row.total_gpu_hours)
    assert row.per_point_price == pytest.approx(2 * row.per_point_gpu_hours)
    assert texts(found, "gan").price == f"{row.total_price:,.2f}"


def test_a_price_that_is_needed_and_not_named_leaves_the_cost_unknown(spent):
    found = dataclasses.replace(spent, tariff=Tariff(gpu_hour=2.0))
    assert table_of(found).total_price.isna().all()
    assert texts(found, "gan").price == ""


def test_what_nobody_recorded_is_unknown_and_never_nothing(spent):
    work, trials = spent.work.copy(), spent.trials.copy()
    work.loc[(work.kind == "synthesize") & (work.regimen == 1.0), "seconds"] = np.nan
    here = trials.index[(trials.stage == "grid") & (trials.arm == "none") & (trials.regimen == 0.1)]
    trials.loc[here, "spent_seconds"] = np.nan
    found = dataclasses.replace(spent, work=work, trials=trials)
    row = cell(table_of(found), "gan", 1.0)
    assert (row.unknown, row.images_unknown) == (6, 6)
    view = texts(found, "gan")
    assert view.parts[2] == "at least 6.0 h"
    assert view.total.startswith("at least 6.4 h")
    assert (view.per_point, view.small) == ("", "partly unknown")
    assert texts(found, "none", "10 %").parts[0] == "unknown"
    assert texts(found, "gan", "10 %").small == "partly unknown", "the baseline's share is"
    said = cost.unknown_sentences(cost.items_table(found))
    assert "The time of 6 of 24 makings of images was not recorded." in said
    assert "The time of 18 of 480 trials was not recorded." in said


def test_failed_tries_count_and_what_is_to_come_does_not(spent):
    trials, work = spent.trials.copy(), spent.work.copy()
    here = trials.index[(trials.stage == "grid") & (trials.arm == "gan") & (trials.regimen == 1.0)]
    trials.loc[here[0], ["status", "device"]] = ["failed", ""]
    trials.loc[here[0], "threads"] = np.nan
    trials.loc[here[1], ["status", "spent_seconds"]] = ["waiting", np.nan]
    failed = work.index[(work.kind == "train_gan") & (work.regimen == 1.0)][0]
    unnamed = {"state": "failed", "device": "", "processes": np.nan, "threads": np.nan}
    work.loc[failed, list(unnamed)] = list(unnamed.values())
    row = cell(table_of(dataclasses.replace(spent, trials=trials, work=work)), "gan", 1.0)
    assert row.unknown == 0
    assert row.grid_cpu_hours == pytest.approx(17 / 60)
    whole = cell(table_of(spent), "gan", 1.0).images_cpu_hours
    assert row.images_cpu_hours == pytest.approx(whole - 0.5), "one process is known of"


@pytest.mark.parametrize(
    ("hours", "text"),
    [(0, "0"), (123.4, "123 h"), (3.21, "3.2 h"), (0.5, "30 min"), (0.05, "3.0 min")],
)
def test_times_are_written_so_that_they_can_be_read(hours, text):
    assert cost.time_text(hours) == text
    assert cost.time_text(2.1 / 3600) == "2.1 s"
    assert cost.time_text(1e-6) == "under 0.1 s"
    assert cost.time_text(1 - 1e-9) == "1.0 h"


def test_the_page_tells_the_cost_of_every_cell_and_its_total(fabricate, tmp_path):
    facts = fabricate.spend(fabricate.study(**fabricate.SMALL))
    page = write_page(facts, tmp_path).read_text("utf-8")
    assert "What it cost" in page
    assert "The study took 3.8 h of one processor, everything counted once." in page
    assert (tmp_path / "tables" / "cost.csv").exists()
    nothing = facts.trials.assign(status="waiting", spent_seconds=np.nan)
    work = facts.work.assign(state="waiting", seconds=np.nan)
    begun = dataclasses.replace(facts, trials=nothing, work=work)
    page = write_page(begun, tmp_path).read_text("utf-8")
    assert "No trial has ended yet" in page
