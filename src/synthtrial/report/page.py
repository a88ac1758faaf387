"""The report: one HTML page that stands alone, with its tables and figures beside it.

    write_report(study, store, plan, Path("synthtrial-reports/digits"))

makes ``report.html``, ``findings.json``, ``tables/*.csv`` and ``figures/*.png|svg``. The page loads
nothing from anywhere and holds no script.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from markupsafe import Markup

from synthtrial import __version__
from synthtrial.data.regimens import regimen_label
from synthtrial.identity import code_digest
from synthtrial.report import (
    cost,
    failures,
    figures,
    finding_views,
    findings,
    generators,
    image_figures,
    inference,
    parts,
    quality,
    selection,
    stopping,
    tables,
    templating,
    verdict,
    views,
)
from synthtrial.report.cams import maps_context
from synthtrial.report.facts import DASH, Facts, listing, records
from synthtrial.report.flow import flow
from synthtrial.report.held_out import with_test_set
from synthtrial.report.missing import Missing
from synthtrial.report.prevalence import prevalence
from synthtrial.report.questions import readable
from synthtrial.report.selection_figure import selection_context
from synthtrial.report.style import Panel, save
from synthtrial.store.files import TEMPORARY, entries, idle_seconds, storage_errors, temporary_name
from synthtrial.store.locks import lock_path, unlock
from synthtrial.store.maintenance import STALE_SECONDS

if TYPE_CHECKING:
    from synthtrial.plan import Plan
    from synthtrial.store.artifacts import Store
    from synthtrial.study import Study

PAGE, FINDINGS = "report.html", "findings.json"
_PARTS = ("tables", "figures", FINDINGS, PAGE)


def write_report(study: Study, store: Store, plan: Plan, out: Path) -> Path:
    """Write the report of a study, finished or not.

    Args:
        study: the study.
        store: where its results are.
        plan: its plan, built from the same store.
        out: folder of the report; ``report.html``, ``findings.json``, ``tables`` and ``figures`` in
            it are replaced.

    Returns:
        The path of the page.

    Raises:
        StoreError: the folder cannot be written, or the disk is full.
        DamagedArtifactError: a split, allocation or picture of the study is damaged.
    """
    from synthtrial.report.sources import gather

    return write_page(gather(study, store, plan), out)


def write_page(facts: Facts, out: Path) -> Path:
    """Write the report of :class:`~synthtrial.report.facts.Facts`; see :func:`write_report`."""
    out = Path(out).absolute()
    with storage_errors(out):
        out.mkdir(parents=True, exist_ok=True)
    with storage_errors(out), _alone_in(out):
        made = {name: temporary_name(out / name) for name in _PARTS}
        try:
            made["tables"].mkdir()
            made["figures"].mkdir()
            html, data = render(facts, made["tables"], made["figures"])
            made[PAGE].write_text(html, encoding="utf-8")
            made[FINDINGS].write_text(data, encoding="utf-8")
            for name in ("tables", "figures"):
                shutil.rmtree(out / name, ignore_errors=True)
                made[name].rename(out / name)
            for name in (FINDINGS, PAGE):
                made[name].replace(out / name)
        finally:
            for path in made.values():
                _remove(path)
    return out / PAGE


@contextmanager
def _alone_in(out: Path) -> Iterator[None]:
    """Let one process at a time write in a folder, and clean up after those that were killed."""
    lock = None
    with suppress(OSError):  # some network file systems cannot lock a folder
        lock = lock_path(out, os.O_RDONLY | os.O_DIRECTORY, wait=True)
    try:
        for path in entries(out):
            ours = path.name.startswith(tuple(f"{name}{TEMPORARY}" for name in _PARTS))
            if ours and (lock is not None or idle_seconds(path) > STALE_SECONDS):
                _remove(path)
        yield
    finally:
        if lock is not None:
            unlock(lock)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def render(facts: Facts, table_folder: Path, figure_folder: Path) -> tuple[str, str]:
    """Write tables and figures into their folders; return the page, and findings as JSON."""
    design = facts.design
    results, groups = tables.long_results(facts), tables.grouped_results(facts)
    means = tables.results_table(facts, groups)
    compared = inference.differences_table(facts, groups, rivals=True)
    against = compared.baseline == design.baseline
    differences = with_test_set(facts, compared[against].reset_index(drop=True))
    blocks = tables.blocks_table(facts)
    configurations = tables.configurations_table(facts)
    allocations = tables.synthetic_summary(facts)
    curves = tables.curves_table(facts)
    broken, missing = failures.failure_tables(facts, results), Missing(facts, results)
    stopped, tuned = stopping.stopping_table(facts), selection.selection_tables(facts)
    costs = cost.cost_tables(facts, differences)
    graded, losses = quality.summary(facts), generators.losses_table(facts)
    extra = parts.extra_tables(facts, results, means, differences, allocations)
    extra |= finding_views.finding_tables(facts, groups, differences)
    found_all = findings.findings(facts, differences)
    _write_tables(
        table_folder,
        {
            "results": means,
            "differences": differences,
            "rivals": compared[~against],
            "replicates": results,
            "trials": facts.trials,
            "class-counts": facts.counts,
            "synthetic-counts": facts.synthetic,
            "configurations": configurations,
            "learning-curves": curves,
            **broken,
            **tuned,
            **costs,
            **_image_tables(facts, losses),
            **extra,
            **({"early-stopping": stopped} if design.early_stopping else {}),
        },
    )
    styles = {arm: style.colour for arm, style in figures.styles_of(facts).items()}
    found = verdict.answers(facts, compared, means)
    answer_lines, reach = views.answer_view(facts, found, styles)

    def drawn(panels: list[Panel]) -> list[dict[str, Any]]:
        return [
            {"svg": Markup(save(panel, figure_folder)), "slug": panel.slug}  # noqa: S704
            for panel in panels
        ]

    context: dict[str, Any] = {
        "design": design,
        "notes": facts.notes,
        "title": f"{design.name} · synthtrial",
        "headline": verdict.headline(facts, found),
        "target_text": verdict.target_text(facts),
        "first_text": verdict.first_text(facts),
        "shows_overall": verdict.shows_overall(design),
        "answers": answer_lines,
        "answer_titles": _answer_titles(facts),
        "answer_reach": reach,
        "rivals": any(answer.rival.against for answer in found),
        "originals": listing([arm.name for arm in design.arms if arm.original]),
        "repeats": any(answer.rival.against == design.baseline for answer in found),
        "stamps": [(s, views.STAMP_TEXTS.get(s, "")) for s in tables.study_stamps(facts)],
        "finished": facts.finished,
        "progress": _progress(facts, blocks),
        "paragraph": verdict.study_paragraph(facts),
        "flow": drawn([flow(facts)])[0],
        "class_counts": drawn((prevalence if design.multi_label else figures.class_counts)(facts)),
        "synthetic_counts": drawn(figures.synthetic_counts(facts, allocations)),
        "allocations": _allocation_rows(allocations),
        "several_allocations": allocations.arms.nunique() > 1,
        "targets": views.columns_of(design),
        "results": views.results_view(facts, means, styles, missing=missing),
        "differences": views.results_view(
            facts, differences, styles, differences=True, missing=missing
        ),
        "no_results": not missing.complete,
        "cell_means": drawn(figures.cell_means(facts, means)),
        "thin_lines": figures.THIN_LINES,
        "learning_curves": [
            (regimen_label(regimen), drawn(panels))
            for regimen, panels in figures.learning_curves(facts, curves).items()
        ],
        "strips": views.strips(design, facts.pictures),
        **finding_views.finding_context(facts, differences, found_all, extra, drawn),
        **parts.claim_context(facts, results, differences, drawn),
        **parts.sides_context(facts, extra, drawn),
        **parts.gap_context(facts, extra, styles),
        **parts.published_context(facts, extra),
        "choices": parts.choices_view(facts),
        **maps_context(facts.maps, views.cut),
        **_images(facts, graded),
        "quality_figures": drawn(image_figures.quality_dots(facts, graded)),
        "losses": drawn(image_figures.loss_curves(losses)),
        "spread": drawn(figures.configuration_spread(facts, configurations)),
        "fresh": design.protocol == "grid_once",
        "by_class": design.select_over == "per_class",
        **selection_context(facts, configurations, tuned, drawn),
        "early_stopping": stopping.stopping_sentences(facts, stopped),
        "stopped": stopping.stopping_view(facts, stopped) if stopped.stopped.any() else [],
        **cost.cost_context(facts, costs),
        **failures.failure_context(facts, results, broken),
        "regimens": [regimen_label(regimen) for regimen in design.regimens],
        "colours": {arm: views.colour_of(colour) for arm, colour in styles.items()},
        "metric": readable,
        "listing": listing,
        "percent": f"{100 * design.confidence:g} %",
        "csv": sorted(path.name for path in table_folder.glob("*.csv")),
        "version": __version__,
        "digests": _digests(facts),
        "generated": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    }
    html = templating.render("report.html.j2", **context)
    return html, findings.as_json(facts, found_all)


def _images(facts: Facts, graded: pd.DataFrame) -> dict[str, Any]:
    """Return what the page says about made images and their makers."""
    measured = facts.quality[["arms", "regimen", "draw"]].drop_duplicates()
    return {
        "acceptance": quality.acceptance_rows(facts),
        "quality": quality.quality_view(facts, graded),
        "quality_columns": quality.SHOWN,
        "quality_features": list(facts.quality.features.unique()),
        "quality_progress": _so_far(len(measured), *facts.planned.get("quality", (0, 0))),
        "shortfall": quality.shortfall_sentence(facts),
        "dash": DASH,
        "external": facts.external,
        "fitted_text": generators.fitted_text(facts.design),
        "generators": generators.generator_rows(facts),
        "generators_progress": _so_far(
            len(facts.generators), *facts.planned.get("generator", (0, 0))
        ),
        "sheets": generators.sheet_views(facts),
    }


def _so_far(done: int, planned: int, gone: int) -> tuple[str, str]:
    """Return how far it is while some are to come, and how many will never come."""
    progress = f"{done} of {planned} so far" if done + gone < planned else ""
    return progress, f"{gone} of {planned} failed or could not start" if gone else ""


def _image_tables(facts: Facts, losses: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return the tables of stages that the study has."""
    design, found = facts.design, {}
    if design.filtered_arms:
        found["filter-acceptance"] = facts.acceptance
    if design.features:
        found |= {"quality": facts.quality, "quality-shortfalls": facts.shortfalls}
    if design.trains_generators:
        found |= {"generators": facts.generators, "generator-losses": losses}
    return found


def _answer_titles(facts: Facts) -> list[str]:
    first, design = verdict.first_text(facts), facts.design
    metric = readable(design.overall_metric)
    overall = f"{metric} of {design.overall_scope}, against {design.baseline}"
    return [
        f"{first}, against {design.baseline}",
        *([overall] if verdict.shows_overall(design) else []),
        f"{first}, against the best arm without made images",
    ]


def _write_tables(folder: Path, frames: dict[str, pd.DataFrame]) -> None:
    for name, frame in frames.items():
        frame.to_csv(folder / f"{name}.csv", index=False, float_format="%.10g")


def _progress(facts: Facts, blocks: pd.DataFrame) -> list[tuple[str, int, int]]:
    """Return regimen, complete blocks, all blocks."""
    sums = blocks.groupby("regimen").complete.agg(["sum", "size"])
    return [
        (regimen_label(regimen), int(sums["sum"][regimen]), int(sums["size"][regimen]))
        for regimen in facts.design.regimens
    ]


def _allocation_rows(table: pd.DataFrame) -> list[dict[str, str]]:
    rows = []
    for row in records(table[table.chosen]):
        low, high = 100 * row["realised_low"], 100 * row["realised_high"]
        realised = (
            f"{low:.1f} %" if f"{low:.1f}" == f"{high:.1f}" else f"{low:.1f}{DASH}{high:.1f} %"
        )
        rows.append(
            {
                "arms": row["arms"],
                "regimen": regimen_label(row["regimen"]),
                "class_name": row["class_name"],
                "real": f"{row['real']:,.1f}".removesuffix(".0"),
                "intended": f"{row['intended']:,.1f}".removesuffix(".0"),
                "added": f"{row['added']:,.1f}".removesuffix(".0"),
                "expected": f"{100 * row['expected']:.1f} %",
                "realised": realised,
            }
        )
    return rows


def _digests(facts: Facts) -> list[str]:
    found = sorted(set(facts.trials.code_digest) - {""})
    return found or [code_digest()]
