"""Ask other programs: SLURM's, git, nvidia-smi."""

from __future__ import annotations

import subprocess

_TIMEOUT_SECONDS = 60.0


def ask(*command: str, timeout_seconds: float = _TIMEOUT_SECONDS) -> tuple[str | None, str]:
    """Run a command and return what it prints, or None if it fails or hangs, and its errors."""
    try:
        done = subprocess.run(  # noqa: S603 - our own words and ids, never a shell
            command, capture_output=True, text=True, timeout=timeout_seconds
        )
    except FileNotFoundError:
        return None, f"{command[0]} not found"
    except (OSError, subprocess.TimeoutExpired) as error:
        return None, str(error)
    return (done.stdout if done.returncode == 0 else None), done.stderr.strip()
