"""What `plan` prints, for people and as JSON: what is done, what is to do, what that will take."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from synthtrial.data.regimens import regimen_label
from synthtrial.engines import packs_text, uses_gpus
from synthtrial.engines.slurm.costs import bill
from synthtrial.engines.slurm.engine import SlurmEngine
from synthtrial.estimates import Clock
from synthtrial.outlook import ASSUMED_AUC, Outlook, outlook
from synthtrial.plan import Plan
from synthtrial.progress import (
    STAGES,
    duration,
    human_bytes,
    stage_counts,
    stage_of,
    stage_totals,
)
from synthtrial.published import Published, published_of
from synthtrial.stats.power import MOST_BLOCKS
from synthtrial.store.artifacts import Store, read_artifact
from synthtrial.study import Study

if TYPE_CHECKING:
    from synthtrial.replication import PowerReport

_LONG_SECONDS = 24 * 3600.0  # of one core: what somebody will want a GPU for
_SHOWN_RARE = 3  # classes, where the study names none of interest


def plan_json(plan: Plan, store: Store | None) -> dict[str, Any]:
    """Return what `plan` says, for programs."""
    published = published_of(plan.study.settings.statistics.published)
    gpu = uses_gpus(plan.study.settings.engine)
    estimate = Clock(plan, store, gpu=gpu).total(plan.to_do())
    return {
        "study": plan.study.name,
        "store": plan.study.settings.store.path,
        "data": outlook_json(outlook(plan.study), published),
        "stages": stage_counts(plan),
        "estimate": {
            "gpu": gpu,
            "core_seconds": round(estimate.seconds, 1),
            "bytes": estimate.bytes,
            "files": estimate.files,
            "measured_share": round(estimate.measured, 3),
        },
        "packs": packs_text(len(plan.to_do()), plan.study.settings.engine),
        "to_do": [
            {"id": task.id, "kind": task.kind, "label": task.label, "ready": plan.is_ready(task)}
            for task in plan.to_do()
        ],
    }


def show_plan(console: Console, plan: Plan, store: Store | None) -> None:
    """Print what is done and what is to do, with estimates."""
    settings = plan.study.settings
    console.print(f"{plan.study.name}: {settings.description}", style="bold")
    console.print(
        f"{len(plan.study.arms)} arms x {len(settings.regimens)} regimens x "
        f"{len(plan.study.configurations)} configurations; {plan.study.draws} draws, "
        f"{settings.protocol.replicates} replicates, protocol {settings.protocol.kind}"
    )
    published = published_of(settings.statistics.published)
    show_outlook(console, plan, outlook(plan.study), published)
    gpu = uses_gpus(settings.engine)
    clock = Clock(plan, store, gpu=gpu)
    core_seconds: Counter[str] = Counter()
    for task in plan.to_do():
        core_seconds[stage_of(task)] += round(1000 * clock.seconds(task))
    table = Table(box=None, pad_edge=False)
    for column in ("stage", "done", "to do", "failed", "GPU time" if gpu else "core time"):
        table.add_column(column, justify="left" if column == "stage" else "right")
    for stage, (settled, total, failed) in stage_totals(plan).items():
        seconds = duration(core_seconds[stage] / 1000) if core_seconds[stage] else ""
        done = str(settled - failed)
        table.add_row(STAGES[stage], done, str(total - settled), str(failed or ""), seconds)
    console.print(table)
    show_allocations(console, plan, store)
    if plan.undecided:
        console.print(
            f"{plan.undecided} replicate trials wait for their configuration to be chosen."
        )
    if plan.complete:
        console.print("Nothing is to do.")
        return
    if settings.engine.name == "slurm":
        show_submission(console, plan, clock)
    estimate = clock.total(plan.to_do())
    basis = (
        "from trials measured in this store"
        if estimate.measured > 0.5
        else "a rough guess until trials have been measured here"
    )
    if settings.engine.name != "slurm":
        console.print(f"Packs: {packs_text(len(plan.to_do()) + plan.undecided, settings.engine)}")
    console.print(
        f"To do: about {duration(estimate.seconds)} of one {'GPU' if gpu else 'core'} ({basis}), "
        f"{human_bytes(estimate.bytes)} in about {estimate.files} files in {settings.store.path}"
    )
    on_gpu = Clock(plan, None, gpu=True).total(plan.to_do()).seconds
    if not gpu and estimate.seconds > _LONG_SECONDS and on_gpu < estimate.seconds:
        console.print(
            "With engine.device=cuda, or a site with GPUs: about "
            f"{on_gpu / 3600:,.0f} GPU-hours on "
            "GPUs of a data centre (a rough guess)"
        )


def outlook_json(found: Outlook, published: Published | None) -> dict[str, Any]:
    """Return what the labels say, for programs."""
    whole = _finite(dataclasses.asdict(found))
    for regimen in whole["regimens"]:
        regimen["printed"] = _printed(published, regimen["regimen"]) if published else {}
    return {"assumed_auc": ASSUMED_AUC, **whole}


def _finite(value: Any) -> Any:
    """Return plain data with null for what is undefined, as JSON has no NaN."""
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def show_outlook(console: Console, plan: Plan, found: Outlook, published: Published | None) -> None:
    """Print who is rare, how large the regimens are, and what test and validation can show."""
    groups = f"of {found.groups:,} groups" if found.groups else "(GROUPS UNKNOWN)"
    console.print(
        f"Data: {found.images:,} images {groups}; {found.test.images:,} to test on (draw 0)"
    )
    if found.unused_sides:
        sides = ", ".join(f"{name} {count:,}" for name, count in found.unused_sides.items())
        console.print(
            f"The dataset comes with sides of its own ({sides}), which split.own=true keeps; here "
            "they are dealt anew."
        )
    if found.named:
        console.print(
            f"split.test_groups names {found.named[0]:,} groups, of which "
            f"{found.named[1]:,} are there"
        )
    judged_by_auc = plan.study.settings.statistics.per_class.startswith("auc")
    uncertain = any(item.uncertain for item in found.classes)
    shown = {"uncertain": uncertain, "SE": judged_by_auc}
    table = _table(shown, "class", "positive", "uncertain", "prevalence", "in test", "SE")
    for item in found.classes:
        _add(
            table,
            shown,
            item.name,
            f"{item.positive:,}",
            uncertain=f"{item.uncertain:,}",
            prevalence=f"{item.prevalence:.2%}",
            test=f"{found.test.positives[item.name]:,}",
            SE=_se(found.test.se[item.name]),
        )
    console.print(table)
    names = plan.study.minority or [item.name for item in found.classes[:_SHOWN_RARE]]
    ways = list(dict.fromkeys(way for r in found.regimens for way in (*r.added, *r.refused)))
    several = len(ways) > 1  # names of arms would leave the columns no room: they come below
    added = {way: f"({i})" if several else "added" for i, way in enumerate(ways, start=1)}
    columns = ["regimen", "images", "class", "positive", "in validation", "SE", *added.values()]
    shown["printed"] = published is not None
    table = _table(shown, *columns, "printed")
    for regimen in found.regimens:
        head = (regimen_label(regimen.regimen), f"{regimen.images:,}")
        printed = _printed(published, regimen.regimen) if published else {}
        for name in names:
            held = regimen.validation
            cells = [*head, name, f"{regimen.positives[name]:,}"]
            cells += [f"{held.positives[name]:,} of {held.images:,}"]
            counts = {
                label: _count(regimen.added.get(way, {}).get(name)) for way, label in added.items()
            }
            _add(
                table,
                shown,
                *cells,
                SE=_se(held.se[name]),
                **counts,
                printed=_count(printed.get(name)),
            )
            head = ("", "")
    console.print(table)
    for way, label in added.items() if several else ():
        console.print(f"{label}: images added by {way}")
    if judged_by_auc:
        console.print(
            f"SE: standard error of an AUC of {ASSUMED_AUC:g} with so many positives (Hanley and "
            "McNeil 1982)."
        )
    if uncertain:
        policy = plan.study.settings.training.label_policy
        console.print(f"Uncertain labels count as '{policy}' (training.label_policy).")
    if published:
        console.print(f"printed: images that {published.title} adds ({published.source}).")
    for reason in dict.fromkeys(text for r in found.regimens for text in r.refused.values()):
        console.print(f"no images can be added: {reason}")


def _table(shown: Mapping[str, bool], *columns: str) -> Table:
    """Return a table of these columns, but for those that are not to be shown."""
    table = Table(box=None, pad_edge=False)
    for name in columns:
        if shown.get(name, True):
            left = name in ("class", "regimen")
            table.add_column(name, justify="left" if left else "right", no_wrap=True)
    return table


def _add(table: Table, shown: Mapping[str, bool], *cells: str, **named: str) -> None:
    table.add_row(*cells, *(text for name, text in named.items() if shown.get(name, True)))


def _se(value: float) -> str:
    return "undefined" if math.isnan(value) else f"{value:.3f}"


def _count(value: int | None) -> str:
    return "" if value is None else f"{value:,}"


def _printed(published: Published, regimen: float) -> dict[str, int]:
    """Return how many images the published table adds of each class in the same regimen."""
    found = {name: published.synthetic(regimen, name) for name in published.classes}
    return {name: images for name, images in found.items() if images is not None}


def show_submission(console: Console, plan: Plan, clock: Clock) -> None:
    """Print what SLURM would be asked now, and what the whole study takes of the cluster."""
    study = plan.study
    engine = SlurmEngine(Store(study.store_path.absolute()), study)
    engine.consider(plan, clock)
    ready = list(plan.ready())
    for text in engine.scripts(ready):
        console.print(text, style="dim")
    seconds = clock.total(plan.to_do()).seconds
    console.print(f"SLURM: {engine.preview(ready)}; later ones follow when these have ended")
    console.print(f"In all about {bill(seconds, engine.site, study.settings.engine)}")


def show_allocations(console: Console, plan: Plan, store: Store | None) -> None:
    """Print how many images each regimen is given, with expected and realised prevalence."""
    if store is None:
        return
    for task in plan.tasks.values():
        if task.kind != "allocate" or task.payload["draw"] != 0 or task.id not in plan.done:
            continue
        info = read_artifact(store, "allocation", task.id).info
        classes = "; ".join(
            f"{name} {info['counts_before'][name] / info['n_rows']:.1%} -> "
            f"{info['expected'][name]:.1%} expected, {info['realised'][name]:.1%} realised"
            for name in info["targets"]
        )
        console.print(
            f"regimen {regimen_label(info['regimen'])}: {info['images']:,} images added to "
            f"{info['n_rows']:,} (draw 0): {classes}",
        )


def show_reasons(console: Console, reasons: Mapping[tuple[str, str], int], empty: bool) -> None:
    """Print why tasks are to do."""
    if empty:
        console.print("Everything is new: there is no store yet.")
    elif not reasons:
        console.print("Nothing is to do.")
    for (kind, reason), count in reasons.items():
        console.print(f"{count} x {kind}: {reason}")


def show_power(console: Console, study: Study, found: Sequence[PowerReport]) -> None:
    """Print how many replicates the primary question takes."""
    unit = "replicates" if study.draws == 1 else "draws"
    for item in found:
        if item.pilot:
            spread = (
                f"at {item.where}: the difference varies by {item.deviation:.4g} between {unit} "
                f"({item.pilot} of them). Reckoned with {item.upper:.4g}, as so few may show less"
            )
        else:
            spread = f"assumed: the difference varies by {item.deviation:.4g} between {unit}"
        console.print(spread)
        table = Table(box=None, padding=(0, 2, 0, 2))
        for title in (unit, "interval, end to end", f"difference found, {100 * item.power:g} %"):
            table.add_column(title, justify="right")
        for line in item.lines:
            table.add_row(str(line.blocks), f"{line.width:.4g}", f"{line.detectable:.4g}")
        console.print(table)
        needed = f"{item.needed:,} {unit} find"
        if item.needed >= MOST_BLOCKS:
            needed = f"more than {MOST_BLOCKS:,} {unit} would be needed to find"
        console.print(f"  {needed} a difference of {item.difference:g}")
        if item.floor is not None:
            console.print(
                f"  for other test images too, no number of {unit} makes the interval narrower "
                f"than {item.floor:.4g}"
            )
    asked = study.settings.statistics.primary.regimens or study.settings.regimens
    if len(asked) > 1:
        console.print(
            f"Intervals are those of one difference; what is found is corrected for "
            f"{len(asked)} training sets."
        )
    if 1 < study.draws < study.settings.protocol.replicates:
        console.print(
            f"More replicates on {study.draws} draws do not help: raise protocol.draws, or set it "
            "to null."
        )
