"""How the number of replicates came about, in sentences: by what rule, and after which looks."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from synthtrial.report.facts import Design, listing
from synthtrial.targets import Look, Target


def with_looks(design: Design, target: Target | None) -> Design:
    """Say by what rule, and after which looks, there are so many replicates.

    Args:
        design: of the study, as it is reported.
        target: what is remembered of it in its store.
    """
    if target is None:
        return design
    rule, sentences = target.rule, []
    if rule is not None:
        sentences.append(
            f"The number of replicates follows a rule about the width of the primary interval "
            f"({rule.width:g}): it is found from the spread of the first {rule.first}, which is "
            "also that of the interval, so that its coverage is kept (Stein 1945)."
        )
    sentences += _look_sentences([look for look in target.looks if look.seen])
    if target.ran > design.replicates:
        sentences.append(
            f"The study has been run with {target.ran} replicates; this report is about the first "
            f"{design.replicates} only."
        )
    pilot = None if rule is None else rule.first
    return dataclasses.replace(design, pilot=pilot, looks=tuple(sentences))


def _look_sentences(looks: Sequence[Look]) -> list[str]:
    raised = [look for look in looks if look.after > look.before and "--until" not in look.by]
    fewer = [look for look in looks if look.after < look.before]
    rules = list(dict.fromkeys(look.by for look in looks if "--until" in look.by))
    found = []
    if len(rules) > 1:
        found.append(
            f"The rule was given anew after results could be seen ({', then '.join(rules)}): that "
            "keeps the coverage only where it had nothing to do with the results. Who asks for "
            "more until an interval clears zero finds it clear too often."
        )
    if raised:
        found.append(
            f"The number of replicates was raised from {_steps(raised)} after results could be "
            "seen. Who goes on until an interval clears zero finds it clear too often: no interval "
            "here is corrected for that."
        )
    if fewer:
        seen = listing([str(look.seen) for look in fewer])
        found.append(
            f"The number of replicates was taken back from {_steps(fewer)} when results of {seen} "
            "could be seen. Who stops where an interval clears zero finds it clear too often: no "
            "interval here is corrected for that."
        )
    return found


def _steps(looks: Sequence[Look]) -> str:
    return listing([f"{look.before} to {look.after}" for look in looks])
