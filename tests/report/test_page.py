"""The page stands alone, escapes everything, and copes with any state of a study."""

import dataclasses
import os
import re
import threading
from html.parser import HTMLParser
from xml.etree import ElementTree as ET

import matplotlib as mpl
import pandas as pd
import pytest
from PIL import Image

from synthtrial.errors import StoreError
from synthtrial.report import tables
from synthtrial.report.figures import THIN_LINES, learning_curves
from synthtrial.report.page import write_page
from synthtrial.report.pictures import External
from synthtrial.report.style import arm_styles, inline
from synthtrial.store.locks import lock_path, unlock

VOID = {"meta", "link", "img", "br", "input", "hr", "wbr", "path", "use"}


class Page(HTMLParser):
    """Collects ids, references and texts, and checks that tags close."""

    def __init__(self, html):
        super().__init__()
        self.ids, self.targets, self.text, self.open = [], [], "", []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        for name, value in attributes:
            if name == "id":
                self.ids.append(value)
            if name in {"href", "src", "xlink:href"}:
                self.targets.append(value)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.text += f" {data}"


def read(path):
    return Page(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def made(fabricate, tmp_path_factory):
    """A whole report, written over an older one by a process with settings of its own."""
    folder = tmp_path_factory.mktemp("report") / "digits"
    for name in ("figures", "tables.tmp-0123456789abcdef", "figures.tmp-0123456789abcdef"):
        (folder / name).mkdir(parents=True)
        (folder / name / "stale.png").write_bytes(b"")
    (folder / "report.html.tmp-0123456789abcdef").write_bytes(b"")
    (folder / "notes.tmp-mine").write_bytes(b"")
    facts = fabricate.study(folder=tmp_path_factory.mktemp("pictures"), **fabricate.MIDDLING)
    with mpl.rc_context({"font.size": 23.0}):
        page = write_page(facts, folder)
        assert mpl.rcParams["font.size"] == 23.0, "drawing leaves the user's settings alone"
    return page, read(page)


EVIL = "<script>alert(1)</script> & $x_1$"


@pytest.fixture(scope="module")
def troubled(fabricate, tmp_path_factory):
    """The page of an unfinished study with strange names, divergence and leakage."""
    classes = (*"01234567", EVIL, "_9")
    names = {"minority": (EVIL, "_9"), "reduced": (EVIL,), "description": EVIL, "licence": EVIL}
    facts = fabricate.study(finished=0.6, classes=classes, **names, **fabricate.SMALL)
    trials = facts.trials.copy()
    here = trials.index[(trials.arm == "gan") & (trials.stage == "grid")][:3]
    trials.loc[here, ["status", "message"]] = ["diverged", "the loss became nan at step 12"]
    trials.loc[(trials.arm == "gan") & (trials.stage == "replicate"), "stamps"] = "LEAKY"
    page = write_page(dataclasses.replace(facts, trials=trials), tmp_path_factory.mktemp("odd"))
    return page, read(page)


def test_the_page_loads_nothing_from_elsewhere(made):
    path, page = made
    html = path.read_text(encoding="utf-8")
    assert "<script" not in html
    assert "http://" not in html.replace("http-equiv", "")
    assert "https://" not in html
    for target in page.targets:
        assert target.startswith(
            ("#", "data:image/png;base64,", "tables/", "figures/", "findings.json")
        )


def test_every_link_leads_somewhere_and_ids_are_unique(made):
    path, page = made
    assert page.open == []
    assert len(page.ids) == len(set(page.ids))
    for target in page.targets:
        if target.startswith("#"):
            assert target[1:] in page.ids
        elif not target.startswith("data:"):
            assert (path.parent / target).exists()


@pytest.mark.parametrize(
    "heading",
    [
        "The study",
        "Classes before and after imbalance",
        "Images added",
        "Results on the test set",
        "Learning curves",
        "Real beside synthetic",
        "Spread of the 18 configurations",
        "Failures and divergences",
    ],
)
def test_every_part_of_the_report_is_there(made, heading):
    assert heading in made[1].text


def test_tables_and_figures_lie_beside_the_page(made):
    folder = made[0].parent
    names = {path.name for path in (folder / "tables").iterdir()}
    assert {"results.csv", "differences.csv", "trials.csv", "class-counts.csv"} <= names
    drawings = sorted((folder / "figures").glob("*.svg"))
    assert {path.stem for path in drawings} >= {"study-flow", "cell-means-minority", "class-counts"}
    for svg in drawings:
        ET.parse(svg)
        with Image.open(svg.with_suffix(".png")) as image:
            assert image.width > 300


def test_figures_follow_the_theme_of_the_page(made):
    html = made[0].read_text(encoding="utf-8")
    drawn = "".join(re.findall(r"<svg.*?</svg>", html, flags=re.DOTALL))
    assert "var(--arm-synthetic-0)" in drawn
    defined = set(re.findall(r"(--[a-z0-9-]+):", html.split("</style>")[0]))
    assert set(re.findall(r"var\((--[a-z0-9-]+)\)", html)) <= defined | {"--c"}


def test_percent_signs_stay_with_their_numbers(made):
    assert "10\u00a0%" in made[1].text
    assert " %" not in re.sub(r"<svg.*?</svg>", "", made[0].read_text("utf-8"), flags=re.DOTALL)


def test_names_from_outside_are_escaped(troubled):
    html = troubled[0].read_text(encoding="utf-8")
    assert "<script" not in html
    assert "&lt;script&gt;alert(1)" in html
    assert EVIL in troubled[1].text


def test_an_unfinished_study_is_stamped_and_shows_its_progress(troubled):
    text = troubled[1].text
    assert "PROVISIONAL" in text
    assert "4 of 6 blocks complete" in text
    assert "So far: these numbers are no evidence" in text


def test_failures_are_listed_with_their_messages(troubled):
    assert "3 of 18 diverged" in troubled[1].text
    assert "the loss became nan at step 12" in troubled[1].text


def test_leaky_results_carry_their_stamp_in_every_table(troubled):
    html = troubled[0].read_text(encoding="utf-8")
    assert html.count('<span class="stamp stamp-leaky">') >= 5


@pytest.fixture(scope="module")
def judged(fabricate, tmp_path_factory):
    """The page of a study that filters and measures its images, and is still measuring them."""
    folder = tmp_path_factory.mktemp("judged")
    names = {"minority": ("8", EVIL), "classes": (*"01234567", "8", EVIL), "regimens": (1.0,)}
    facts = fabricate.judge(fabricate.study(**{**fabricate.JUDGED, **names}, epochs=3), folder)
    lost = (("quality of gan", EVIL),)
    facts = dataclasses.replace(facts, quality=facts.quality.iloc[:-2], lost=lost)
    page = write_page(facts, folder / "page")
    return page, read(page)


def test_quality_and_generators_have_sections_where_a_study_has_them(judged, made):
    for heading in ("How good the made images are", "What the filter accepted"):
        assert heading in judged[1].text
        assert heading not in made[1].text
    assert "The generators" in judged[1].text
    tables = {path.name for path in (judged[0].parent / "tables").iterdir()}
    judging = {"quality.csv", "quality-shortfalls.csv", "filter-acceptance.csv"}
    assert tables >= {*judging, "generators.csv", "generator-losses.csv"}
    assert not judging & {path.name for path in (made[0].parent / "tables").iterdir()}


def test_what_is_not_good_enough_is_said_at_once_and_in_its_section(judged, fabricate):
    text = " ".join(judged[1].text.split())
    assert "Made images of gan fall short of the study's own thresholds" in text
    assert text.index("fall short") < text.index("The study")
    assert fabricate.SENTENCE.format(0.25) in text
    assert fabricate.WHY in text
    assert "8 of 9 so far" in text


def test_what_can_never_be_measured_is_not_still_to_come(fabricate, tmp_path):
    facts = begun(fabricate, features="reference")
    text = read(write_page(dataclasses.replace(facts, planned={"quality": (2, 2)}), tmp_path)).text
    assert "2 of 2 failed or could not start" in text
    assert "No images have been measured yet" not in text


def test_of_many_shortfalls_some_are_folded_away_and_none_is_left_out(fabricate, tmp_path):
    names = tuple("012345678")
    facts = fabricate.judge(begun(fabricate, minority=names, **fabricate.JUDGED))
    short = [facts.shortfalls.assign(class_name=name, text=f"{name} is bad") for name in names]
    facts = dataclasses.replace(facts, shortfalls=pd.concat(short, ignore_index=True))
    text = read(write_page(facts, tmp_path)).text
    assert "1 more" in text
    assert all(text.count(f"{name} is bad") == 1 for name in names)


def test_the_page_of_a_judged_study_stands_alone_and_escapes(judged):
    path, page = judged
    html = path.read_text(encoding="utf-8")
    assert "<script" not in html
    assert page.open == []
    assert len(page.ids) == len(set(page.ids))
    for target in page.targets:
        if target.startswith("#"):
            assert target[1:] in page.ids
        elif not target.startswith("data:image/png;base64,"):
            assert (path.parent / target).exists()
    assert html.count("step 600</figcaption>") == 1


def test_quality_in_a_file_is_that_of_every_draw(judged):
    table = pd.read_csv(judged[0].parent / "tables" / "quality.csv")
    assert len(table) == 3 * 3 * 2 - 2
    assert {"recognisability_relative", "frechet_distance", "undefined"} <= set(table.columns)


def test_images_made_elsewhere_are_told_in_place_of_generators(fabricate, tmp_path):
    facts = begun(fabricate, fit_on="external")
    facts = dataclasses.replace(facts, external=External("/made/list.csv", EVIL))
    page = read(write_page(facts, tmp_path))
    assert "The generators" not in page.text
    assert "/made/list.csv" in page.text
    assert EVIL in page.text
    assert "they may descend from the test set" in page.text


def test_a_study_without_made_images_has_no_section_on_their_makers(fabricate, tmp_path):
    arms = fabricate.design().arms
    facts = begun(fabricate, arms=(arms[0], arms[3]))
    page = read(write_page(facts, tmp_path))
    assert "The generators" not in page.text
    assert "#generators" not in page.targets


def begun(fabricate, **changes):
    facts = fabricate.study(finished=0.0, **{**fabricate.SMALL, **changes})
    return dataclasses.replace(
        facts,
        trials=facts.trials.assign(status="waiting", validation=float("nan")),
        counts=facts.counts.iloc[:0],
        synthetic=facts.synthetic.iloc[:0],
        regimen_images={},
        chosen=facts.chosen.iloc[:0],
    )


def test_a_study_that_has_just_begun_gets_a_page(fabricate, tmp_path):
    page = read(write_page(begun(fabricate), tmp_path))
    assert "No block is complete yet" in page.text
    assert "The grid has not begun" in page.text
    assert "No generator has been trained yet" in page.text


def test_a_report_replaces_the_one_before_and_what_killed_ones_left(made):
    folder = made[0].parent
    assert not (folder / "figures" / "stale.png").exists()
    left = sorted(path.name for path in folder.iterdir())
    assert left == ["figures", "findings.json", "notes.tmp-mine", "report.html", "tables"]


def test_a_report_in_the_making_elsewhere_is_waited_for(fabricate, tmp_path):
    theirs = tmp_path / "tables.tmp-0123456789abcdef"
    theirs.mkdir()
    seen = []
    lock = lock_path(tmp_path, os.O_RDONLY | os.O_DIRECTORY, wait=False)

    def finish():
        seen.append(theirs.exists())
        unlock(lock)

    timer = threading.Timer(0.3, finish)
    timer.start()
    write_page(begun(fabricate), tmp_path)
    timer.join()
    assert seen == [True]
    assert not theirs.exists()


@pytest.mark.parametrize("protocol", ["grid_once", "full_grid", "retune"])
def test_only_fresh_replicates_show_the_optimism_of_the_choice(fabricate, tmp_path, protocol):
    facts = fabricate.study(protocol=protocol, **fabricate.SMALL)
    no_others = {
        "trials": facts.trials.assign(overall=float("nan")),
        "class_scores": facts.class_scores * float("nan"),
        **{name: getattr(facts, name).iloc[:0] for name in ("counts", "synthetic", "curves")},
    }
    text = read(write_page(dataclasses.replace(facts, **no_others), tmp_path)).text
    fresh = protocol == "grid_once"
    assert ("fresh replicates" in text) == fresh
    assert ("in the grid than in fresh replicates" in text) == fresh
    assert ("Their test scores took no part in the choice" in text) != fresh
    scores = pd.read_csv(tmp_path / "tables" / "configurations.csv").replicate_score
    assert scores.notna().any() == fresh


def test_many_replicates_are_drawn_as_a_few_lines(fabricate):
    facts = fabricate.study(replicates=THIN_LINES + 5, **fabricate.SMALL)
    curves = tables.curves_table(facts)
    assert curves.replicate.nunique() == THIN_LINES + 5
    panels = learning_curves(facts, curves)[1.0]
    assert len(panels) == 2
    for panel in panels:
        (axes,) = panel.figure.axes
        assert [len(lines.get_segments()) for lines in axes.collections] == [THIN_LINES] * 2
        mean = curves[curves.arm == axes.get_title(loc="left")].groupby("epoch").train_loss.mean()
        assert axes.lines[0].get_ydata().tolist() == pytest.approx(mean.tolist())


def test_a_place_that_cannot_be_written_is_a_clear_error(fabricate, tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied", str(tmp_path / "x"))

    monkeypatch.setattr("pathlib.Path.mkdir", refuse)
    with pytest.raises(StoreError, match="read-only"):
        write_page(fabricate.study(), tmp_path / "x")


def test_arms_keep_their_colour_and_differ_in_marker():
    styles = arm_styles(["none", "gan", "weights"], "none", ["gan"])
    assert len({style.colour for style in styles.values()}) == 3
    assert len({style.marker for style in styles.values()}) == 3
    assert arm_styles(["none", "gan", "weights", "more"], "none", ["gan"])["gan"] == styles["gan"]


def test_drawings_in_one_page_do_not_share_ids():
    svg = '<svg width="1pt"><g id="a"/><use xlink:href="#a" clip-path="url(#a)"/></svg>'
    found = inline(svg, "one", 'a "b" <c>')
    assert 'id="one-a"' in found
    assert 'href="#one-a"' in found
    assert "url(#one-a)" in found
    assert "width=" not in found
    assert "&quot;b&quot; &lt;c>" in found
