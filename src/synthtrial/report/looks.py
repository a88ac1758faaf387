"""What came after looks at results, in sentences: replicates, their rule, and other questions."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from synthtrial.data.regimens import regimen_label
from synthtrial.declared import Change
from synthtrial.history import Given, History, Look, WidthRule
from synthtrial.report.facts import Design, count_text, listing

#: What may be changed, in words, by its name in :func:`synthtrial.declared.declared_of`.
_NAMES = {
    "arm": "arm of the primary question",
    "target": "target of the primary question",
    "regimens": "list of training sets of the primary question",
    "baseline": "baseline",
    "family": "family of arms that are judged together",
    "margin": "margin",
    "spread": "kind of spread (statistics.spread)",
    "confidence": "confidence of the intervals",
    "overall": "metric over all classes",
    "per_class": "metric of single classes",
    "minority": "list of classes of interest",
    "overall_classes": "list of classes that the overall metric is the mean of",
}
#: What makes a question another one, whatever it is about.
_QUESTION = ("arm", "target", "regimens", "baseline")
_ALL_IF_EMPTY = ("family", "overall_classes")


def with_looks(design: Design, history: History | None, changed: Sequence[Change] = ()) -> Design:
    """Say by what rule, and after which looks, there are so many replicates; and what was changed.

    Args:
        design: of the study, as it is reported.
        history: what is remembered of it in its store.
        changed: what is asked otherwise than was declared before results could be seen.
    """
    if history is None:
        return design
    rule, sentences = history.rule, [_change_sentence(change) for change in _told(changed)]
    rules = _rules(history)
    if rule is not None:
        sentences.append(_rule_sentence(rule, _first_given(history, rules)))
        if design.replicates >= rule.most:
            sentences.append(
                f"It allowed {rule.most} replicates at most, and there are that many: the interval "
                "may be wider than was asked for."
            )
    sentences += _look_sentences([look for look in history.looks if look.seen], rules)
    if history.ran > design.replicates:
        sentences.append(
            f"The study has been run with {history.ran} replicates; this report is about the first "
            f"{design.replicates} only."
        )
    pilot = None if rule is None else rule.first
    return dataclasses.replace(
        design,
        pilot=pilot,
        looks=tuple(sentences),
        asked_late=_asked_late(design, changed),
        margin_late=max((change.seen for change in changed if change.name == "margin"), default=0),
    )


def _asked_late(design: Design, changed: Sequence[Change]) -> int:
    """Return how many replicates could be seen when the primary question became what it is."""
    if design.primary is None:
        return 0
    judged = {
        "overall": ("overall", "overall_classes"),
        "minority": ("per_class", "minority"),
        "class": ("per_class",),
    }
    parts = (*_QUESTION, *judged[design.primary.scope])
    return max((change.seen for change in changed if change.name in parts), default=0)


def _told(changed: Sequence[Change]) -> list[Change]:
    """Leave away what goes without saying where a question was named, or dropped, as a whole."""
    whole = any(
        change.name == "arm" and None in (change.before, change.after) for change in changed
    )
    return [
        change
        for change in changed
        if change.name in _NAMES and not (whole and change.name in ("target", "regimens"))
    ]


def _change_sentence(change: Change) -> str:
    after = f"after results of {count_text(change.seen, 'replicate')} could be seen"
    before, now = _value(change.name, change.before), _value(change.name, change.after)
    if change.name == "arm" and change.before is None:
        return f"The primary question was named {after}, so that it is exploratory too."
    if change.name == "arm" and change.after is None:
        return f"There was a primary question, about {before}, which was dropped {after}."
    if change.name == "margin" and change.before is None:
        return f"The margin of {now} was named {after}."
    if change.name == "margin" and change.after is None:
        return f"There was a margin, of {before}, which was dropped {after}."
    return f"The {_NAMES[change.name]} was changed from {before} to {now} {after}."


def _value(name: str, value: Any) -> str:
    if isinstance(value, list):
        if not value:
            return "all" if name in _ALL_IF_EMPTY else "none"
        return listing([_value(name, item) for item in value])
    if name == "regimens" and isinstance(value, float):
        return regimen_label(value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _rule_sentence(rule: WidthRule, given: Given | None) -> str:
    spread = f"it is found from the spread of the first {rule.first}"
    text = (
        "The number of replicates follows a rule about the width of the primary interval "
        f"({rule.width:g})"
    )
    if given is None or not given.seen:
        return (
            f"{text}: {spread}, which is also that of the interval, so that its coverage is kept "
            "(Stein 1945)."
        )
    return (
        f"{text}, first given when results of {count_text(given.seen, 'replicate')} could be seen: "
        f"{spread}, which is also that of the interval (Stein 1945). Its coverage is kept only if "
        "nobody decided to go on because of the differences seen: who goes on because an interval "
        "does not clear zero finds it clear too often."
    )


def _rules(history: History) -> list[str]:
    """Return each rule that was given, as it was typed, the first one first."""
    found = [(look.at, look.by) for look in history.looks if look.seen and "--until" in look.by]
    found += [(given.at, given.by) for given in history.given]
    return list(dict.fromkeys(by for _, by in sorted(found, key=lambda pair: pair[0])))


def _first_given(history: History, rules: Sequence[str]) -> Given | None:
    """Return when a rule was first given; None where an older one says nothing of that."""
    return next((given for given in history.given[:1] if given.by == rules[0]), None)


def _look_sentences(looks: Sequence[Look], rules: Sequence[str]) -> list[str]:
    raised = [look for look in looks if look.after > look.before and "--until" not in look.by]
    fewer = [look for look in looks if look.after < look.before]
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
