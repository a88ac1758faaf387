"""Do the intervals hold what they say? Thousands of simulated studies whose truth is known.

    python benchmarks/coverage.py [--studies 2000]

How often intervals of 95 % hold the true difference, one and all of a family at once, or the true
mean of an arm; how often an arm that does nothing is called different, in a family (Dunnett), in a
study with many questions (Holm) and from the best of several others; how often arms that differ by
the margin are called equivalent; the rule of `replicate --until` and the naive one beside it, which
looks after each replicate and stops once the interval is narrow; and intervals over seeds and test
sets. With 2,000 studies the figures themselves vary by about .005 (one standard error). What is
allowed: .937 to .962 of intervals, .038 to .063 of families; where an error of at most 5 % is
promised, up to .063; where an interval is cautious, from .937 on; with fewer studies more. Figures
in brackets are of what a report does not do, or does not promise.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import NamedTuple

from synthtrial.testing.simulated import (
    MEANS,
    PRIMARY_QUESTIONS,
    RIVAL_STUDIES,
    SCENARIOS,
    WHOLE_STUDIES,
)
from synthtrial.testing.simulated_inference import (
    differences,
    equivalent,
    mean_interval,
    other_images,
    picked_rival,
    primary_question,
    until_narrow,
    whole_study,
)
from synthtrial.testing.simulated_logits import FEW_SEEDS, LOGIT_SCENARIOS

Judge = Callable[[int, int], tuple[float, ...]]  # studies, seed -> shares
MOST_STUDIES = 2000
COVERAGE, FAMILY = (0.937, 0.962), (0.038, 0.063)
AT_LEAST, AT_MOST, ANY = (0.937, 1.0), (0.0, 0.063), None  # of what is promised to one side only
MARGINS = {"one generator": 0.02, "a generator each": 0.03, "three draws, generators differ": 0.2}


class Section(NamedTuple):
    """A part of the table: its columns with what is allowed, and its rows."""

    title: str
    columns: tuple[tuple[str, tuple[float, float] | None], ...]
    rows: dict[str, Judge]


SECTIONS = (
    Section(
        "differences from none",
        (("interval", COVERAGE), ("joint", COVERAGE), ("family error", FAMILY)),
        {name: partial(differences, each) for name, each in SCENARIOS.items()},
    ),
    Section(
        "a study of 4 regimens x 2 classes: it tells a difference where there is none",
        (("Dunnett, Holm", AT_MOST), ("no Holm", ANY)),
        {name: partial(whole_study, each) for name, each in WHOLE_STUDIES.items()},
    ),
    Section(
        "the primary question at 4 regimens: it tells a difference where there is none",
        (("Holm", AT_MOST), ("no Holm", ANY)),
        {name: partial(primary_question, each) for name, each in PRIMARY_QUESTIONS.items()},
    ),
    Section(
        "2 arms with made images against the best of 3 without, where no arm does anything",
        (("all pairs", AT_MOST), ("picked pair", ANY)),
        {name: partial(picked_rival, each) for name, each in RIVAL_STUDIES.items()},
    ),
    Section(
        "the mean of an arm, of the pooled spread of arms that share draws",
        (("shared df", AT_LEAST), ("summed df", ANY), ("own spread", COVERAGE)),
        {name: partial(mean_interval, each) for name, each in MEANS.items()},
    ),
    Section(
        "the same of an arm whose generators differ, so that the pooled spread is not its own",
        (("shared df", ANY), ("summed df", ANY), ("own spread", COVERAGE)),
        {
            name: partial(mean_interval, SCENARIOS[name], arm="gan")
            for name in ("a generator each", "three draws, generators differ")
        },
    ),
    Section(
        "called equivalent",
        (("at the margin", AT_MOST), ("and shown", AT_MOST), ("no difference", ANY)),
        {
            f"{name}, margin {margin}": partial(equivalent, SCENARIOS[name], margin)
            for name, margin in MARGINS.items()
        },
    ),
    Section(
        "until the interval is narrow enough, by Stein's rule and by looking each time",
        (("Stein", COVERAGE), ("looking", ANY), ("blocks", ANY), ("blocks", ANY)),
        {
            name: partial(until_narrow, SCENARIOS[name])
            for name in ("one generator", "a generator each", "unequal variances")
        },
    ),
    Section(
        "difference of two areas under the ROC curve, for other test images too",
        (("seeds, test set", COVERAGE), ("seeds alone", ANY)),
        {
            **{name: partial(other_images, each) for name, each in LOGIT_SCENARIOS.items()},
            "6 seeds, 120 patients, bootstrap": partial(
                other_images, LOGIT_SCENARIOS["6 seeds, 120 patients"], bootstrap=True
            ),
        },
    ),
    Section(
        "the same of so few seeds that the interval errs on the cautious side",
        (("seeds, test set", AT_LEAST), ("seeds alone", ANY)),
        {name: partial(other_images, each) for name, each in FEW_SEEDS.items()},
    ),
)


def limits(allowed: tuple[float, float], studies: int) -> tuple[float, float]:
    """Widen what is allowed of 2,000 studies to what it is for fewer."""
    nominal = 0.95 if allowed[1] > 0.5 else 0.05
    factor = math.sqrt(MOST_STUDIES / studies)
    low, high = (nominal + (end - nominal) * factor for end in allowed)
    return max(low, 0.0), min(high, 1.0)


def written(value: float, allowed: tuple[float, float] | None, studies: int) -> str:
    """Write a figure: in brackets where nothing is asked of it, marked where it lies outside."""
    if allowed is None:
        return f"({value:.1f})" if value > 1 else f"({value:.4f})"
    low, high = limits(allowed, studies)
    return f"{value:.4f}{' ' if low <= value <= high else '!'}"


def judged(judge: Judge, studies: int, seed: int) -> tuple[tuple[float, ...], float]:
    """Return a row's shares and the seconds they took."""
    started = time.monotonic()
    return tuple(judge(studies, seed)), time.monotonic() - started


def main() -> None:
    """Print the table; the program fails where a figure of ours lies outside."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--studies", type=int, default=MOST_STUDIES)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, help="by default one for each processor")
    options = parser.parse_args()
    outside, studies = 0, options.studies
    allowed = [f"{a:.3f} to {b:.3f}" for a, b in (limits(x, studies) for x in (COVERAGE, FAMILY))]
    most = limits(AT_MOST, studies)[1]
    print(f"{studies} studies each; allowed: coverage {allowed[0]}, family error {allowed[1]},")
    print(f"error of a whole study, and equivalence at the margin, at most {most:.3f}")
    with ProcessPoolExecutor(options.processes) as pool:
        jobs = {
            (section.title, name): pool.submit(judged, judge, studies, options.seed)
            for section in SECTIONS
            for name, judge in section.rows.items()
        }
        for section in SECTIONS:
            heads = "".join(f"{head:>16}" for head, _ in section.columns)
            print(f"\n{section.title}\n{'':44}{heads}")
            for name in section.rows:
                shares, seconds = jobs[section.title, name].result()
                texts = [
                    written(share, limit, studies)
                    for share, (_, limit) in zip(shares, section.columns, strict=True)
                ]
                outside += sum(text.endswith("!") for text in texts)
                cells = "".join(f"{text:>16}" for text in texts)
                print(f"{name:44}{cells}   {seconds:.0f} s", flush=True)
    if outside:
        sys.exit(f"{outside} figures lie outside")


if __name__ == "__main__":
    main()
