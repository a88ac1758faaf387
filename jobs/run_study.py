"""Run a study on the Ray cluster that this job was submitted to: `synthtrial run` as a job of Ray.

    export RAY_ADDRESS=http://127.0.0.1:8265 RAY_AUTH_MODE=token  # token: ~/.ray/auth_token
    ray job submit --working-dir jobs -- /shared/me/venv/bin/python run_study.py \
        digits store.path=/shared/me/store store.report_path=/shared/me/reports

Behind the program's name stands what `synthtrial run` takes. The interpreter's path must be given:
`python` would be whatever is first on the head's PATH. The folder of --working-dir is copied to the
cluster, so take one that is small; your own study file may lie in it, beside a copy of this. The
copy is removed after the job, so results must go elsewhere: store and reports need absolute paths.

`ray job stop ID` lets trainings save their state, if the head was started with
RAY_JOB_STOP_WAIT_TIME_S=60 (3 s by default); submit it again to go on. The exit status is that
of the run, which the job's details show (`driver_exit_code`; `ray job submit` itself says 0 or 1);
75 means that it was stopped and would go on.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path


def main(arguments: Sequence[str]) -> None:
    """Run the study that the arguments name; ends in its exit status."""
    from synthtrial.cli import main as synthtrial

    address = os.environ.get("RAY_ADDRESS", "")
    if not address or "://" in address:
        _refuse("this is no job of a Ray cluster; its first lines say how it is submitted")
    words = [word.partition("=") for word in arguments]
    given = {key: value for key, _, value in words if key.startswith("store.")}
    for key in ("store.path", "store.report_path"):
        if not Path(given.get(key, "")).is_absolute():
            _refuse(
                f"{key}={given.get(key, '')} is not an absolute path: a relative one would lie in "
                f"the copy of the working directory, which goes with the job. Add {key}=/..., in a "
                "folder that all nodes see"
            )
    sys.argv[1:] = ["run", *arguments, "--engine", "ray", f"engine.ray.address={address}"]
    synthtrial()


def _refuse(message: str) -> None:
    print(f"error: {message}", file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
    main(sys.argv[1:])
