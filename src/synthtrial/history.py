"""How many replicates a study has been taken to in a store, by what rule, and after what looks.

Who changes the number of replicates after having seen results has looked: that is remembered, and
the report says so. It does not matter how the number was changed: by `synthtrial replicate`, or by
an edited study that is run again. So is who first gives a rule then, or asks something else than
was declared before (:mod:`synthtrial.declared`).

What is remembered lies in ``studies/<name>-<key>.replicates.json`` of the store
(:func:`history_file`). The key (:func:`study_key`) is that of what is measured, whatever the number
of replicates, so that two studies of one name do not answer for each other.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from synthtrial.declared import Change, Declared, changes, declared_of, is_known, remembered
from synthtrial.errors import ConfigError, StoreError, SynthtrialError
from synthtrial.identity import digest, non_default
from synthtrial.plan import Plan, build
from synthtrial.store.artifacts import Store
from synthtrial.store.files import storage_errors, write_file
from synthtrial.store.root import STUDIES, snapshot_files
from synthtrial.study import Study, load
from synthtrial.upstream import split_identity

SUFFIX = ".replicates.json"
#: Sections of a study that change nothing of what is measured.
_ASIDE = ("description", "engine", "store", "statistics", "cams", "allow_leakage")


@dataclass(frozen=True)
class WidthRule:
    """Replicate until the primary interval is narrow enough, its coverage kept (Stein 1945).

    Attributes:
        width: of the interval, from end to end, in units of the metric.
        first: blocks whose spread decides how many are needed, and stays in the interval.
        most: replicates at most.
    """

    width: float
    first: int
    most: int


@dataclass(frozen=True)
class Look:
    """One time that the number of replicates was changed: raised, or taken back.

    Attributes:
        before, after: replicates.
        seen: replicates of which results were there to be seen.
        by: what was typed.
        at: when (ISO, UTC).
    """

    before: int
    after: int
    seen: int
    by: str
    at: str


@dataclass(frozen=True)
class Given:
    """One time that a rule was given which had not been given before.

    Attributes:
        by: what was typed.
        seen: replicates of which results were there to be seen.
        at: when (ISO, UTC).
    """

    by: str
    seen: int
    at: str


@dataclass(frozen=True)
class History:
    """What was asked for of a study in a store, and done.

    Attributes:
        replicates: in all, that `synthtrial replicate` asked for; 0 where it never did.
        rule: by which, if by one.
        looks: each time that they were raised or taken back.
        ran: most that the study has been run with; 0 where that is not known.
        declared: what the study declared to ask, before results and since; empty where unknown.
        given: the rules, each when it was first given; without those of before this was kept.
    """

    replicates: int = 0
    rule: WidthRule | None = None
    looks: tuple[Look, ...] = ()
    ran: int = 0
    declared: tuple[Declared, ...] = ()
    given: tuple[Given, ...] = ()


def study_key(study: Study) -> str:
    """Return the identity of a study that stays the same when replicates are added.

    It is the digest of the name and of every setting that says what is measured: the dataset by
    its content, split, imbalance, regimens, arms, generator, classifier, grid, metrics, seed and
    the rest of the protocol. Not in it are the numbers of replicates and of draws (only whether
    all share one draw), and the sections ``description``, ``engine``, ``store``, ``statistics``,
    ``cams`` and the setting ``allow_leakage``: a question that is declared late, or changed, is
    one about results that may have been seen (:func:`changed_questions`).
    """
    settings = study.settings
    kept = {name: value for name, value in non_default(settings).items() if name not in _ASIDE}
    protocol = non_default(settings.protocol)
    kept["protocol"] = {k: v for k, v in protocol.items() if k not in ("replicates", "draws")}
    kept["one_draw"] = settings.protocol.draws == 1
    kept["dataset"] = study.dataset.identity
    kept["split"] = {**kept.get("split", {}), "test_groups": None, **split_identity(settings.split)}
    kept["metrics"] = sorted(settings.metrics)
    kept["classifier"] = study.classifier.identity
    if study.generator is not None and study.gan_trainings:
        kept["generator"] = study.generator.identity
    return digest(kept)


def history_file(study: Study, store: Store) -> Path:
    """Return the file of what was asked for of a study, whether it is there or not.

    Where there is none with the study's key, but one with its name alone, as they once were, it is
    that one.
    """
    mine, by_name = _own_file(study, store), store.root / STUDIES / f"{study.name}{SUFFIX}"
    return by_name if by_name.exists() and not mine.exists() else mine


def as_replicated(study: Study, store: Store) -> Study:
    """Return the study with the replicates that `synthtrial replicate` has asked for here."""
    history = read_history(study, store)
    return study if history is None else _with_replicates(study, history.replicates)


def read_history(study: Study, store: Store) -> History | None:
    """Return what was asked for of a study in a store; None where nothing was.

    Raises:
        StoreError: the file that says so is damaged.
    """
    path = history_file(study, store)
    if not path.exists():
        return None
    try:
        return _history(json.loads(path.read_text()))
    except (OSError, ValueError, KeyError, TypeError):
        raise StoreError(
            f"{path} does not say a number of replicates; remove it and run "
            f"`{study.command('replicate')} --to N` again"
        ) from None


def _history(found: Mapping[str, Any]) -> History:
    rule = found.get("rule")
    return History(
        int(found["replicates"]),
        None if rule is None else WidthRule(**rule),
        tuple(Look(**look) for look in found.get("looks", ())),
        int(found.get("ran", 0)),
        tuple(Declared(**declared) for declared in found.get("declared", ())),
        tuple(Given(**given) for given in found.get("given", ())),
    )


def seen_replicates(plan: Plan) -> int:
    """Return how many replicates have results that could have been looked at."""
    trials = (
        trial for task in plan.tasks.values() if (trial := task.trial) and task.id in plan.done
    )
    return len({trial.replicate for trial in trials if trial.stage == "replicate"})


def raise_replicates(
    study: Study,
    store: Store,
    replicates: int,
    *,
    seen: int = 0,
    by: str = "",
    rule: WidthRule | None = None,
    by_rule: bool = False,
) -> Study:
    """Remember that the study is taken to so many replicates, and return it so.

    Fewer than were asked for before change nothing: :func:`take_back` does that.

    Args:
        study: the study.
        store: where.
        replicates: in all.
        seen: replicates of which results are there already.
        by: what was typed.
        rule: by which the number was found; that of before is kept without one.
        by_rule: whether it is a rule that was typed, even where it has not chosen a number yet.

    Raises:
        ConfigError: a study cannot have so many.
    """
    known = read_history(study, store) or History()
    own = study.settings.protocol.replicates
    before = max(known.ran or own, known.replicates)
    after = max(known.replicates, own, replicates)
    raised = _with_replicates(study, after)  # nothing is remembered of what is refused
    looks = (*known.looks, _look(before, after, seen, by)) if after > before else known.looks
    asked = after if after > own or known.replicates else 0
    given = _with_given(known, by, seen, rule) if by_rule else known.given
    declared = remembered(known.declared, declared_of(study), _most_seen(known, seen), _now())
    now = History(asked, rule or known.rule, looks, known.ran, declared, given)
    _write(study, store, known, now)
    return raised


def _with_given(known: History, by: str, seen: int, rule: WidthRule | None) -> tuple[Given, ...]:
    """Return the rules that were given, with this one; nobody can tell when an old one was."""
    old = [look.by for look in known.looks] if not known.given else []
    if by in [*old, *(given.by for given in known.given)] or (rule and rule == known.rule):
        return known.given
    return (*(known.given if seen else ()), Given(by, seen, _now()))


def take_back(study: Study, store: Store, replicates: int, *, seen: int, by: str) -> Study:
    """Remember that the study is to have fewer replicates than were asked for; return it so.

    Results stay in the store. A rule stays where the blocks that it began with do.

    Args:
        study: the study, with the replicates that it names itself.
        store: where.
        replicates: in all.
        seen: replicates of which results are there.
        by: what was typed.

    Raises:
        ConfigError: no more were asked for, or fewer than the study itself names.
    """
    known = read_history(study, store) or History()
    own = study.settings.protocol.replicates
    if known.replicates <= own:
        raise ConfigError(
            f"--back-to {replicates}: nothing asked for more than the {own} replicates that the "
            "study names; to have fewer, set protocol.replicates"
        )
    if not own <= replicates < known.replicates:
        raise ConfigError(
            f"--back-to {replicates}: the study names {own} replicates, and {known.replicates} "
            f"were asked for; allowed: {own} to {known.replicates - 1}"
        )
    rule = known.rule if known.rule and replicates >= known.rule.first else None
    looks = (*known.looks, _look(known.replicates, replicates, seen, by))
    asked = replicates if replicates > own else 0
    declared = remembered(known.declared, declared_of(study), _most_seen(known, seen), _now())
    ran = min(known.ran, replicates)
    now = History(asked, rule, looks, ran, declared, known.given)
    _write(study, store, known, now)
    return _with_replicates(study, replicates)


def remember_run(study: Study, store: Store) -> None:
    """Remember with how many replicates a study is run, and what it declares to ask.

    More than it was run with before, once there are results, is a look; to go on with what was
    interrupted is none. Whoever begins a run calls this, while nobody else may run the study.
    """
    known = read_history(study, store) or History()
    mine = study.settings.protocol.replicates
    ran = known.ran or _ran_before(study, store)
    before, looks, declared = max(ran, known.replicates), known.looks, known.declared
    asked, more = declared_of(study), 0 < before < mine
    if more or not is_known(declared, asked):  # a plan takes a while
        seen = seen_replicates(build(_as_of(study, before or mine), store))
        looks = (*looks, _look(before, mine, seen, "run")) if more and seen else looks
        declared = remembered(declared, asked, _most_seen(known, seen), _now())
    now = dataclasses.replace(known, looks=looks, ran=max(ran, mine), declared=declared)
    _write(study, store, known, now)


def changed_questions(study: Study, store: Store, plan: Plan) -> tuple[Change, ...]:
    """Return what a study asks otherwise than it declared before results could be seen.

    Args:
        study: as it is to be reported.
        store: where.
        plan: of the study, whole.
    """
    known = read_history(study, store)
    asked = declared_of(study)
    if known is None or not known.declared or known.declared[0].asked == asked:
        return ()
    most = max(known.ran, known.replicates)
    whole = build(_as_of(study, most), store) if most > study.settings.protocol.replicates else plan
    return changes(known.declared, asked, _most_seen(known, seen_replicates(whole)))


def _most_seen(known: History, seen: int) -> int:
    """Return how many replicates could ever be seen: results may have been deleted since."""
    before = [look.seen for look in known.looks] + [said.seen for said in known.declared]
    return max(seen, *before, 0)


def _ran_before(study: Study, store: Store) -> int:
    """Return the most replicates of other runs, by their snapshots; 0 without any.

    Runs have not always been remembered in the file.
    """
    found, key = 0, study_key(study)
    for path in snapshot_files(store):
        with suppress(SynthtrialError, OSError, ValueError):  # not readable here: another study
            name = path.read_text().partition("\n")[0]  # the whole takes a while to read
            if path.stem == study.digest or study.name not in name:
                continue
            other = load(path)
            if study_key(other) == key:
                found = max(found, other.settings.protocol.replicates)
    return found


def _as_of(study: Study, replicates: int) -> Study:
    """Return the study as it was when it had fewer replicates."""
    draws = study.settings.protocol.draws
    fewer = [] if draws is None else [f"protocol.draws={min(draws, replicates)}"]
    return study.replace([f"protocol.replicates={replicates}", *fewer])


def _look(before: int, after: int, seen: int, by: str) -> Look:
    return Look(before, after, seen, by, _now())


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _write(study: Study, store: Store, known: History, now: History) -> None:
    if now == known:
        return
    path = _own_file(study, store)
    with storage_errors(store.root):
        path.parent.mkdir(exist_ok=True)
        write_file(path, json.dumps(asdict(now)).encode() + b"\n")


def _own_file(study: Study, store: Store) -> Path:
    return store.root / STUDIES / f"{study.name}-{study_key(study)}{SUFFIX}"


def _with_replicates(study: Study, replicates: int) -> Study:
    if replicates <= study.settings.protocol.replicates:
        return study
    return study.replace([f"protocol.replicates={replicates}"])
