"""Every difference and its interval, drawn."""

from synthtrial.report.forest_figure import forest_panels


def test_the_forest_has_every_arm_of_every_regimen(whole, differences):
    panels = forest_panels(whole, differences)
    assert [panel.slug for panel in panels] == ["forest-1", "forest-2"]
    (axes,) = panels[0].figure.axes
    assert len(axes.get_yticks()) == 16
    assert axes.get_title(loc="left") == "Recall on 8 and 9"


def test_an_interval_far_longer_than_the_rest_is_cut_and_has_a_tip(whole, differences):
    wild = differences.copy()
    mine = (wild.arm == "gan") & (wild.regimen == 0.1) & (wild.scope == "minority")
    wild.loc[mine, ["low", "shown_low"]] = -9.0
    wild.loc[mine, ["high", "shown_high"]] = 9.0
    (axes,) = forest_panels(whole, wild)[0].figure.axes
    tips = [line.get_marker() for line in axes.lines if line.get_marker() in ("<", ">")]
    assert sorted(tips) == ["<", "<", ">", ">"]
    assert axes.get_xlim()[1] < 2.0
    (axes,) = forest_panels(whole, differences)[0].figure.axes
    assert not [line for line in axes.lines if line.get_marker() in ("<", ">")]
