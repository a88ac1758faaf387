"""A small job that goes where the jobs of a study go, looks around, and answers in a file.

It is asked for, started and found like a pack: same profile, same sbatch file, same copy of the
source, a folder beside the store's own. So what stands in the way of packs stands in its way too.
"""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from synthtrial import __version__
from synthtrial.engines import facts
from synthtrial.engines.commands import ask
from synthtrial.engines.placement import available_processors, host_name
from synthtrial.engines.slurm import script
from synthtrial.engines.slurm.queue import JobInfo, Queue, cancel, last_lines
from synthtrial.engines.slurm.sites import Site
from synthtrial.engines.source import snapshot
from synthtrial.errors import SynthtrialError
from synthtrial.identity import code_digest
from synthtrial.store.artifacts import Store
from synthtrial.store.cache import cache_root
from synthtrial.store.files import write_file
from synthtrial.store.locks import is_held
from synthtrial.study import Study, load

LOCK = "held.lock"  # held by the one who asks for as long as the job is waited for
_ANSWER = "answer.json"
_STUDY = "study.yaml"
_PACK, _SMALL = "pack.sbatch", "small.sbatch"
_MINUTES = 10
_LOOK_SECONDS = 0.5
_QUEUE_SECONDS = 3.0
_LATE_SECONDS = 40.0  # a network file system may hide a new file for so long
_END_SECONDS = 5.0
_LOG_LINES = 40
#: Reasons of a pending job that time does not mend.
_HOPELESS = ("Partition", "Invalid", "BadConstraints", "DependencyNever")


@dataclass(frozen=True)
class Found:
    """What a probe has come to.

    Attributes:
        job_id: SLURM's.
        seconds: from its submission until the answer was here, or until this was given up.
        answer: what :func:`look` wrote; None if there is none.
        info: what SLURM said of the job last.
        log: the end of its log; None if there is no such file.
        sent_at, read_at: by the clock of this machine, seconds since the epoch.
    """

    job_id: str
    seconds: float
    answer: dict[str, Any] | None
    info: JobInfo | None
    log: list[str] | None
    sent_at: float
    read_at: float

    @property
    def is_hopeless(self) -> bool:
        """Whether the job is pending for a reason that time does not mend."""
        return self.info is not None and _is_hopeless(self.info)


class Probe:
    """The probe of one study, in a throw-away folder that all nodes should see.

    Args:
        study: with its engine settings.
        site: profile of the cluster.
        folder: empty, on the storage of the store.
        opens_data: whether the jobs will read the dataset's own files.
    """

    def __init__(self, study: Study, site: Site, folder: Path, *, opens_data: bool) -> None:
        self._site, self._folder = site, folder
        self._name = f"{study.name}-doctor"
        self._source = snapshot(Store(folder))
        self._logs = folder / "slurm"
        self._opens_data = opens_data
        write_file(folder / _STUDY, study.snapshot().encode())
        for name, small in ((_PACK, False), (_SMALL, True)):
            wanted = script.parameters(site, self._name, self._source, small=small)
            write_file(folder / name, script.text(site, self._logs, wanted, 1).encode())

    def would_start(self) -> tuple[str | None, str]:
        """Ask SLURM whether it would take a job of the study as it is; nothing is submitted.

        Returns:
            Its words: about the start, or None and what is wrong.
        """
        return _test(self._folder / _PACK)

    def run(self, wait_seconds: float, progress: Callable[[str], None]) -> Found:
        """Submit the probe and wait for its answer; the job is cancelled if it does not come.

        Args:
            wait_seconds: how long to wait.
            progress: is told how the job stands.

        Raises:
            EngineError: SLURM refuses the job.
        """
        wanted = script.parameters(self._site, self._name, self._source)
        # Short, so that it fits into a gap of the queue.
        wanted["time"] = min(self._site.minutes or _MINUTES, _MINUTES)
        made = script.executor(self._site, self._logs, wanted)
        sent_at = time.time()
        job_id = script.submit(made, look, [(str(self._folder), self._opens_data)])
        found = None
        try:
            found = self._wait(job_id, sent_at, wait_seconds, progress)
        finally:
            if found is None or found.answer is None:
                cancel([job_id])
            else:
                self._let_end(job_id)
        return found

    def _let_end(self, job_id: str) -> None:
        """Wait until a job that has answered writes nothing more into the folder."""
        deadline = time.monotonic() + _END_SECONDS
        while time.monotonic() < deadline:
            if (self._logs / f"{job_id}_0_result.pkl").exists():
                return
            time.sleep(0.1)

    def _wait(
        self, job_id: str, sent_at: float, seconds: float, progress: Callable[[str], None]
    ) -> Found:
        info: JobInfo | None = None
        asked_at: float | None = None
        over_at: float | None = None
        while True:
            waited = time.time() - sent_at
            answer = self._read()
            done = answer is not None or waited > seconds
            if over_at is not None and info is not None:
                may_have_answered = info.state in ("COMPLETED", "UNKNOWN")
                late = _LATE_SECONDS if may_have_answered else _QUEUE_SECONDS
                done |= time.monotonic() - over_at > late
            if done or (info is not None and _is_hopeless(info)):
                path = self._logs / f"{job_id}_0_log.out"
                log = last_lines(path, _LOG_LINES) if path.exists() else None
                return Found(job_id, waited, answer, info, log, sent_at, time.time())
            if asked_at is None or time.monotonic() - asked_at > _QUEUE_SECONDS:
                asked_at = time.monotonic()
                info = _state(job_id, sent_at) or info
                if info is not None and not info.alive:
                    over_at = over_at or asked_at
            progress(_standing(job_id, info))
            time.sleep(_LOOK_SECONDS)

    def _read(self) -> dict[str, Any] | None:
        # Listing the folder makes network file systems look anew.
        if _ANSWER not in os.listdir(self._folder):  # noqa: PTH208 - nothing is made of the names
            return None
        answer: dict[str, Any] = json.loads((self._folder / _ANSWER).read_bytes())
        return answer


def look(folder: str, opens_data: bool) -> None:
    """Look around on a compute node, and write the answer.

    Args:
        folder: of the probe.
        opens_data: whether to open the dataset.
    """
    start_seconds = facts.seconds_since_start()
    place = Path(folder)
    answer: dict[str, Any] = {
        "host": os.environ.get("SLURMD_NODENAME", host_name()),
        "start_seconds": start_seconds,
        "python": platform.python_version(),
        "executable": sys.executable,
        "version": __version__,
        "digest": code_digest(),
        "package": str(Path(__file__).parents[2]),
        "lock_is_held": is_held(place / LOCK),
        "processors": available_processors(),
        "node_processors": os.cpu_count(),
        "visible": os.environ.get("CUDA_VISIBLE_DEVICES"),
        "nvidia": _plain(facts.nvidia_gpus()),
        "torch": _plain(facts.use_torch()),
        "internet": facts.reaches_internet(),
    }
    answer |= _study_there(place, opens_data=opens_data)
    started, refused = _test(place / _SMALL)
    answer["submits"] = "" if started is not None else refused
    answer["clock"] = time.time()
    write_file(place / _ANSWER, json.dumps(answer).encode())


def _study_there(place: Path, *, opens_data: bool) -> dict[str, Any]:
    """Load the study as a job does: with its plug-ins, its scratch folder and its data."""
    try:
        study = load(place / _STUDY)
    except SynthtrialError as error:
        return {"study": str(error)}
    known: dict[str, Any] = {"study": ""}
    try:
        root = cache_root(study.settings.store.cache_path)
        root.mkdir(parents=True, exist_ok=True)
        known["scratch"] = _plain(facts.storage(root)) | {"wanted": str(root)}
    except (SynthtrialError, OSError) as error:
        known["scratch_error"] = str(error)
    if opens_data:
        try:
            known["rows"] = len(study.dataset.load().label_table())
        except (SynthtrialError, OSError, ImportError) as error:
            known["data_error"] = str(error)
    return known


def _test(path: Path) -> tuple[str | None, str]:
    """Let SLURM say whether it would take an sbatch file."""
    with script.clean_environment():
        answer, said = ask("sbatch", "--test-only", str(path))
    words = "; ".join(line.removeprefix("sbatch: ") for line in said.splitlines() if line.strip())
    return (None, words) if answer is None else (words, "")


def _state(job_id: str, since: float) -> JobInfo | None:
    """Return how the job stands; None if SLURM does not say, or has not noticed it yet."""
    listed = Queue(accounting=False).ask([job_id], since)
    if listed is None:
        return None
    if job_id in listed:  # what accounting says comes late, and without the reason
        return listed[job_id]
    if time.time() - since < _QUEUE_SECONDS:
        return None
    info = (Queue().ask([job_id], since) or {}).get(job_id)
    return info if info and not info.alive else JobInfo("UNKNOWN", "SLURM does not list it")


def _standing(job_id: str, info: JobInfo | None) -> str:
    if info is None:
        return f"job {job_id} is submitted"
    reason = f" ({info.detail})" if info.detail not in ("", "None", info.state) else ""
    return f"job {job_id}: {info.state}{reason}"


def _is_hopeless(info: JobInfo) -> bool:
    reason = info.detail
    limit = reason.startswith(("QOSMax", "AssocMax")) and reason.endswith("PerJobLimit")
    return info.state == "PENDING" and (reason.startswith(_HOPELESS) or limit)


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [dataclasses.asdict(item) for item in value]
    return None if value is None else dataclasses.asdict(value)
