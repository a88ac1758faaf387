"""Jobs that ended before they did anything: what a person needs to see, without asking SLURM more.

Where a site's setup lines fail, they fail for the job that looks what is next too, and nobody is
left to say so.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from synthtrial.engines import submissions as subs
from synthtrial.engines.slurm.queue import JobInfo, last_lines
from synthtrial.engines.slurm.watch import log_file
from synthtrial.engines.submissions import Submission

_LOG_LINES = 8
_NO_MISHAP = ("COMPLETED", "CANCELLED", "SUBMITTED", "UNKNOWN")
_PYTHON_IS_UP = "Starting with JobEnvironment"  # submitit's first word
_LINE = re.compile(r": line (\d+): ")  # bash's complaint about one of its script


@dataclass(frozen=True)
class FailedStart:
    """A job that ended before it did anything.

    Attributes:
        job_id: SLURM's id.
        ended: how, in SLURM's words, and where.
        python: whether Python came up in it; if not, the lines of the setup are to blame, or the
            command that starts Python.
        line: the line of its sbatch file that bash complained of last; empty if of none.
        log: its log.
        told: the last lines of that.
    """

    job_id: str
    ended: str
    python: bool
    line: str
    log: str
    told: Sequence[str]

    def lines(self) -> list[str]:
        """Return the same in words."""
        before = "it did anything" if self.python else "Python was up"
        line = f", at `{self.line}`" if self.line else ""
        log = f"the end of {self.log}:" if self.told else f"{self.log} is empty"
        first = f"  {self.job_id} ended before {before}{line}: {self.ended}; {log}"
        return [first, *(f"    | {told}" for told in self.told)]


def failed_start(submission: Submission, index: int, info: JobInfo) -> FailedStart | None:
    """Return what is known of a job that ended before it did anything; None of any other.

    Args:
        submission: that it belongs to.
        index: of its pack; 0 for a job that looks what is next.
        info: what SLURM says of it.
    """
    if info.alive or info.state in _NO_MISHAP or subs.event_files(submission, index):
        return None
    log = log_file(submission, index)
    told = last_lines(log, 100)
    python = any(_PYTHON_IS_UP in line for line in told)
    code = f", exit code {info.exit_code}" if info.exit_code not in ("", "0:0") else ""
    where = f" on {info.nodes}" if info.nodes else ""
    return FailedStart(
        job_id=submission.job(index),
        ended=f"{info.detail or info.state}{code}{where}",
        python=python,
        line="" if python else _blamed(submission, told),
        log=str(log),
        told=told[-_LOG_LINES:],
    )


def _blamed(submission: Submission, told: Sequence[str]) -> str:
    """Return the line of the sbatch file that bash complained of last."""
    numbers = [int(match[1]) for line in told if (match := _LINE.search(line))]
    scripts = list((submission.folder / "slurm").glob("*_submission.sh"))
    if not numbers or not scripts:
        return ""
    try:
        lines = scripts[0].read_text().splitlines()
    except OSError:
        return ""
    return lines[numbers[-1] - 1].strip() if numbers[-1] <= len(lines) else ""
