"""The page stands alone, escapes everything, and copes with any state of a study."""

import dataclasses
import re
from html.parser import HTMLParser
from xml.etree import ElementTree as ET

import matplotlib as mpl
import pytest
from PIL import Image

from synthtrial.errors import StoreError
from synthtrial.report.page import write_page
from synthtrial.report.style import arm_styles, inline

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


@pytest.fixture(scope="module")
def made(fabricate, tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    pictures = tmp_path_factory.mktemp("pictures")
    page = write_page(fabricate.study(folder=pictures), folder / "digits")
    return page, Page(page.read_text(encoding="utf-8"))


def test_the_page_loads_nothing_from_elsewhere(made):
    path, page = made
    html = path.read_text(encoding="utf-8")
    assert "<script" not in html
    assert "http://" not in html.replace("http-equiv", "")
    assert "https://" not in html
    for target in page.targets:
        assert target.startswith(("#", "data:image/png;base64,", "tables/", "figures/"))


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
    assert not list(folder.glob("*.tmp-*"))


def test_figures_follow_the_theme_of_the_page(made):
    html = made[0].read_text(encoding="utf-8")
    drawn = "".join(re.findall(r"<svg.*?</svg>", html, flags=re.DOTALL))
    assert "var(--arm-synthetic-0)" in drawn
    defined = set(re.findall(r"(--[a-z0-9-]+):", html.split("</style>")[0]))
    assert set(re.findall(r"var\((--[a-z0-9-]+)\)", html)) <= defined | {"--c"}


def test_names_from_outside_are_escaped(fabricate, tmp_path):
    evil = "<script>alert(1)</script> & $x_1$"
    classes = (*"01234567", evil, "_9")
    facts = fabricate.study(
        classes=classes,
        minority=(evil, "_9"),
        reduced=(evil,),
        description=evil,
        licence=evil,
        **fabricate.SMALL,
    )
    page = write_page(facts, tmp_path)
    html = page.read_text(encoding="utf-8")
    assert "<script" not in html
    assert "&lt;script&gt;alert(1)" in html
    assert evil in Page(html).text


def test_an_unfinished_study_is_stamped_and_shows_its_progress(fabricate, tmp_path):
    page = Page(
        write_page(fabricate.study(finished=0.6, **fabricate.SMALL), tmp_path).read_text(
            encoding="utf-8"
        )
    )
    assert "PROVISIONAL" in page.text
    assert "4 of 6 blocks complete" in page.text
    assert "So far:" in page.text


def test_a_study_that_has_just_begun_gets_a_page(fabricate, tmp_path):
    facts = fabricate.study(finished=0.0, **fabricate.SMALL)
    facts = dataclasses.replace(
        facts,
        trials=facts.trials.assign(status="waiting", validation=float("nan")),
        counts=facts.counts.iloc[:0],
        synthetic=facts.synthetic.iloc[:0],
        regimen_images={},
        chosen=facts.chosen.iloc[:0],
    )
    page = Page(write_page(facts, tmp_path).read_text(encoding="utf-8"))
    assert "No block is complete yet" in page.text
    assert "The grid has not begun" in page.text


def test_failures_are_listed_with_their_messages(fabricate, tmp_path):
    facts = fabricate.study(**fabricate.SMALL)
    trials = facts.trials.copy()
    here = trials.index[(trials.arm == "gan") & (trials.stage == "grid")][:3]
    trials.loc[here, ["status", "message"]] = ["diverged", "the loss became nan at step 12"]
    page = Page(
        write_page(dataclasses.replace(facts, trials=trials), tmp_path).read_text(encoding="utf-8")
    )
    assert "3 diverged (12.5 %) of 24" in page.text
    assert "the loss became nan at step 12" in page.text


def test_a_report_replaces_the_one_before(fabricate, tmp_path):
    write_page(fabricate.study(**fabricate.SMALL), tmp_path)
    (tmp_path / "figures" / "stale.png").write_bytes(b"")
    write_page(fabricate.study(**fabricate.SMALL), tmp_path)
    assert not (tmp_path / "figures" / "stale.png").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["figures", "report.html", "tables"]


def test_a_place_that_cannot_be_written_is_a_clear_error(fabricate, tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied", str(tmp_path / "x"))

    monkeypatch.setattr("pathlib.Path.mkdir", refuse)
    with pytest.raises(StoreError, match="read-only"):
        write_page(fabricate.study(), tmp_path / "x")


def test_drawing_leaves_the_users_settings_alone(fabricate, tmp_path):
    with mpl.rc_context({"font.size": 23.0}):
        write_page(fabricate.study(**fabricate.SMALL), tmp_path)
        assert mpl.rcParams["font.size"] == 23.0


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
