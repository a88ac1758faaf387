"""Every error that synthtrial raises on purpose.

    SynthtrialError
    ├── ConfigError              the study, an override or a command-line value
    ├── DataError                a dataset, its labels, a split or a regimen
    │   ├── UnreadableImageError     one image is missing or cannot be decoded
    │   └── InfeasibleTargetError    no number of synthetic images reaches the target
    ├── LeakageError             images descend from held-out groups
    ├── StoreError               the store on disk
    │   ├── StoreSchemaError         written by a newer synthtrial
    │   ├── DamagedArtifactError     missing, truncated or altered files
    │   └── StoreBusyError           another run of the same study is alive
    ├── TrainingError            a GAN or classifier could not be trained
    │   ├── NonFiniteLossError       a loss became NaN or infinite
    │   └── InterruptedTrainingError was asked to stop; goes on from its checkpoint
    └── EngineError              tasks could not be run

A message says what was got, what is allowed, and what to do next. The command line prints it
without a traceback and exits with ``exit_code``.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class SynthtrialError(Exception):
    """Base of all deliberate errors; its text is meant for the user."""

    exit_code = 1


class ConfigError(SynthtrialError):
    """The study, an override or a command-line value is not usable."""

    exit_code = 2


class DataError(SynthtrialError):
    """A dataset, its labels, a split or a regimen is not usable."""


class UnreadableImageError(DataError):
    """One image is missing or cannot be decoded; the message says why, for a list of such."""


class InfeasibleTargetError(DataError):
    """No number of synthetic images reaches the prevalence asked for."""


class LeakageError(SynthtrialError):
    """Training images descend from the groups that a trial is judged on."""


class StoreError(SynthtrialError):
    """The store cannot be read or written."""


class StoreSchemaError(StoreError):
    """The store was written by a newer synthtrial."""


class DamagedArtifactError(StoreError):
    """Files of a committed artifact are missing, truncated or altered."""


class StoreBusyError(StoreError):
    """Another run of the same study is alive."""


class TrainingError(SynthtrialError):
    """A generator or classifier could not be trained."""


class NonFiniteLossError(TrainingError):
    """A loss became NaN or infinite."""


class InterruptedTrainingError(TrainingError):
    """A training was asked to stop; it has left a checkpoint that the next try goes on from."""

    exit_code = 75  # EX_TEMPFAIL: what started the process may start it again


class EngineError(SynthtrialError):
    """An engine could not run its tasks."""


def suggest(got: str, allowed: Iterable[str]) -> str:
    """Say what would have been allowed, nearest first.

    Returns:
        A clause such as ``"did you mean 'digits'? Allowed: digits, fashion."``, to stand after a
        colon.
    """
    names = sorted(allowed)
    close = get_close_matches(got, names, n=1)
    start = f"did you mean '{close[0]}'? Allowed" if close else "allowed"
    return f"{start}: {', '.join(names) if names else '(none)'}."
