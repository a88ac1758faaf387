"""Show a run: live bars on a terminal, a quiet line now and then elsewhere."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Self

from synthtrial.estimates import Clock
from synthtrial.plan import Plan
from synthtrial.store.root import PROGRESS_FILE, UNFINISHED
from synthtrial.tasks import Task

if TYPE_CHECKING:  # `plan` counts stages and needs neither
    from rich.console import Console
    from rich.progress import TaskID

    from synthtrial.engines.base import Engine, Outcome

_LINE_SECONDS = 15.0
_SHOW_SECONDS = 0.5  # between looks at all tasks of the plan, of which there may be thousands
_REFRESHES_PER_SECOND = 2.0
_LEAST_SHARE = 0.1  # of the work that must have ended before it says how long the rest will take
STAGES = {
    "prepare": "prepare",
    "split": "split",
    "allocate": "allocate",
    "reference": "references",
    "train_gan": "train GANs",
    "synthesize": "synthesize",
    "filter": "filter images",
    "assess": "assess images",
    "grid": "grid trials",
    "select": "select",
    "replicate": "replicate trials",
    "cams": "activation maps",
    "exhibits": "exhibits",
}


def stage_of(task: Task) -> str:
    """Return the stage that a task is counted under."""
    return task.trial.stage if task.trial is not None else task.kind


def stage_totals(plan: Plan) -> dict[str, tuple[int, int, int]]:
    """Return (settled, total, failed) of each stage, in the order of :data:`STAGES`."""
    totals = dict.fromkeys(STAGES, (0, 0, 0))
    for task in plan.tasks.values():
        settled, total, failed = totals[stage_of(task)]
        done = task.id in plan.done
        over = plan.is_settled(task.id)
        totals[stage_of(task)] = (settled + over, total + 1, failed + (over and not done))
    settled, total, failed = totals["replicate"]
    totals["replicate"] = (settled, total + plan.undecided, failed)
    return {stage: counts for stage, counts in totals.items() if counts[1]}


def stage_counts(plan: Plan) -> dict[str, dict[str, int]]:
    """Return the tasks done, failed and in all of each stage, for programs."""
    return {
        stage: {"done": settled - failed, "total": total, "failed": failed}
        for stage, (settled, total, failed) in stage_totals(plan).items()
    }


def _sum(totals: dict[str, tuple[int, int, int]]) -> tuple[int, int, int]:
    settled, total, failed = zip(*totals.values(), strict=True)
    return sum(settled), sum(total), sum(failed)


def _is_preparing(totals: dict[str, tuple[int, int, int]]) -> bool:
    settled, total, _ = totals.get("prepare", (0, 0, 0))
    return settled < total


def duration(seconds: float) -> str:
    """Write a duration for people: ``45 s``, ``3 min 20 s``, ``2 h 05 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def preparation(plan: Plan) -> dict[str, float] | None:
    """Return how far the preparation of a large dataset is that has begun and not ended.

    Returns:
        ``images`` so far, ``of`` how many, ``images_per_second``; None where none is under way.
    """
    for task in plan.tasks.values():
        if task.kind == "prepare" and task.id not in plan.done:
            path = plan.study.store_path / UNFINISHED / task.id / PROGRESS_FILE
            try:
                found: dict[str, float] = json.loads(path.read_text())
                return {name: found[name] for name in ("images", "of", "images_per_second")}
            except (OSError, ValueError, KeyError):  # not begun, or of a dataset that is small
                continue
    return None


def preparation_text(known: Mapping[str, float]) -> str:
    """Say what :func:`preparation` found."""
    rate = known["images_per_second"]
    text = f"{known['images']:,.0f}/{known['of']:,.0f} images, {rate:,.0f} images/s"
    return text + (f", {duration((known['of'] - known['images']) / rate)} left" if rate else "")


def human_bytes(count: float) -> str:
    """Write a size for people: ``3.4 MB``."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def last_line(message: str) -> str:
    """Return the line of an error message that says what happened: a traceback's last."""
    return (message.strip().splitlines() or ["no message"])[-1]


class RunProgress:
    """Listener of a run; a context manager, so that the terminal is left as it was."""

    def __init__(self, console: Console) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

        self._console = console
        self._clock: Clock | None = None
        self._plan: Plan | None = None
        self._bars: dict[str, TaskID] = {}
        self._overall = TaskID(0)
        self._started = self._last_shown = time.monotonic()
        self._work_total = 0.0
        self._work_done = 0.0
        self._ended = 0
        self._said: set[tuple[str, str]] = set()
        self.stage_seconds: dict[str, float] = {}
        self._live = Progress(
            TextColumn("{task.description:<16}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            console=console,
            refresh_per_second=_REFRESHES_PER_SECOND,
            disable=not console.is_terminal,
        )

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._plan is not None and self._console.is_terminal:
            self._show_bars(self._plan)  # as they stand at the end
        self._live.stop()

    def started(self, plan: Plan, engine: Engine, clock: Clock) -> None:
        """Say what is there and what is to do."""
        self._clock = clock
        to_do = plan.to_do()
        self._work_total = clock.total(to_do).seconds
        self._console.print(
            f"{plan.study.name}: {len(plan.done)} tasks done before, "
            f"{len(to_do) + plan.undecided} to do; {engine.preview(to_do)}"
        )
        self._overall = self._live.add_task("all", total=None, note="")
        for stage, (settled, total, _) in stage_totals(plan).items():
            self._bars[stage] = self._live.add_task(
                STAGES[stage], total=total, completed=settled, note=""
            )
        self._plan = plan

    def ended(self, task: Task, outcome: Outcome, plan: Plan) -> None:
        """Count the task; failures are said at once."""
        assert self._clock is not None
        stage = stage_of(task)
        self._ended += 1
        self._work_done += self._clock.seconds(task)
        if task.kind == "select":  # what its replicates will take is known only now
            self._work_total = self._work_done + self._clock.total(plan.to_do()).seconds
        self.stage_seconds[stage] = self.stage_seconds.get(stage, 0.0) + outcome.seconds
        if outcome.state != "done":
            final = plan.is_settled(task.id)
            if outcome.cause == "stopped" and not final:
                verdict = "stopped in mid-course, goes on"
            else:
                verdict = "failed for good" if final else f"{outcome.state}, will be tried again"
            reason = last_line(outcome.message)
            if (verdict, reason) not in self._said:  # a mistake in the study fails many tasks
                self._said.add((verdict, reason))
                self._console.print(f"{task.label}: {verdict}: {reason}")
        self._show(plan)

    def waiting(self, plan: Plan) -> None:
        """Keep the clock going."""
        self._show(plan)

    def _show(self, plan: Plan) -> None:
        terminal = self._console.is_terminal
        now = time.monotonic()
        if now - self._last_shown < (_SHOW_SECONDS if terminal else _LINE_SECONDS):
            return
        self._last_shown = now
        if terminal:
            self._show_bars(plan)
        else:
            self._console.print(self._line(plan))

    def _show_bars(self, plan: Plan) -> None:
        totals = stage_totals(plan)
        for stage, (settled, total, failed) in totals.items():
            note = f"{failed} failed" if failed else ""
            if stage == "prepare" and settled < total:
                known = preparation(plan)
                note = preparation_text(known) if known else note
            self._live.update(self._bars[stage], completed=settled, total=total, note=note)
        settled, total, _ = _sum(totals)
        note = self._left(time.monotonic() - self._started)
        self._live.update(self._overall, completed=settled, total=total, note=note)

    def _line(self, plan: Plan) -> str:
        totals = stage_totals(plan)
        settled, total, failed = _sum(totals)
        elapsed = time.monotonic() - self._started
        busy = " ".join(
            f"{STAGES[stage]} {counts[0]}/{counts[1]};"
            for stage, counts in totals.items()
            if 0 < counts[0] < counts[1]
        )
        known = preparation(plan) if _is_preparing(totals) else None
        if known:
            return f"{duration(elapsed)}: prepare {preparation_text(known)}"
        line = f"{duration(elapsed)}: {settled}/{total} tasks; {busy} {self._left(elapsed)}"
        return line + (f"; {failed} failed" if failed else "")

    def _left(self, elapsed: float) -> str:
        rate = self._ended / elapsed if elapsed else 0.0
        shown = f"{rate:.1f} tasks/s" if rate >= 1 else f"{60 * rate:.1f} tasks/min"
        if self._work_done <= _LEAST_SHARE * self._work_total:
            return shown
        left = max(0.0, self._work_total - self._work_done) / self._work_done * elapsed
        return f"{shown}, about {duration(left)} left"
