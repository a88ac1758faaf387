"""What differences rest on, in words."""

import dataclasses

from synthtrial.report import basis, findings, inference


def test_what_was_declared_is_said_and_what_was_not_as_well(whole):
    first, last = basis.declared_sentences(whole.design)
    assert "does gan change recall on 8 and 9 against none, with 10 % and 100 %" in first
    assert last == "Everything else is exploratory: hints for the next study, and no proof."
    undeclared = dataclasses.replace(whole.design, primary=None)
    (text,) = basis.declared_sentences(undeclared)
    assert "exploratory" in text


def test_training_sets_that_are_numbers_of_images_are_called_so(whole):
    asked = dataclasses.replace(whole.design.primary, regimens=(50.0, 2050.0))
    design = dataclasses.replace(whole.design, primary=asked, regimens=asked.regimens)
    text = basis.declared_sentences(design)[0]
    assert "against none, with 50 images and 2,050 images?" in text
    nothing = inference.differences_table(whole).iloc[:0]
    first, *_ = findings.findings(dataclasses.replace(whole, design=design), nothing)
    assert first.sentence.startswith("With 50 images, gan cannot be compared with none")


def test_the_basis_says_what_varied_how_often_and_with_what_freedom(whole, differences, fabricate):
    text = basis.basis_text(whole, differences)
    assert "Between draws varied the subset" in text
    assert "n = 8 draws, 7 degrees of freedom (each difference with the spread" in text
    one = fabricate.study(draws=1, replicates=3)
    text = basis.basis_text(one, inference.differences_table(one))
    assert "They share one draw" in text
    assert "all that is said holds for these and no others" in text
    several = fabricate.study(draws=2, replicates=4)
    text = basis.basis_text(several, inference.differences_table(several))
    assert "averaged within each draw first: they share its generator, which counts once" in text
    assert "one collection" not in text
    bought = basis.varied_text(fabricate.design(fit_on="external"))
    assert "Made images come from one collection throughout" in bought
    assert "generator" not in bought
