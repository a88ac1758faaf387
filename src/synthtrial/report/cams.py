"""Class activation maps in the report: where a classifier looks, in real and in made images.

Likeness is the mean correlation of pairs of maps. By itself it says little, as maps of any two
images of a kind may be alike: real against made stand beside real ones among themselves.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from synthtrial.data.regimens import regimen_label
from synthtrial.errors import DamagedArtifactError
from synthtrial.plan import Plan
from synthtrial.report.facts import DASH, MINUS, count_text
from synthtrial.report.pictures import Picture
from synthtrial.store.artifacts import Store, mend, read_artifact

PAIRS = {
    "real_made": "real against made",
    "real_real": "real among themselves",
    "made_made": "made among themselves",
}
_FEWEST = 2  # images that can be compared
_KINDS = {"real": "real, of the test set", "made": "made"}


@dataclass(frozen=True)
class Likeness:
    """How alike maps of pairs of images are.

    Attributes:
        mean: correlation; with the ends of its interval over images.
        pairs: their number.
    """

    mean: float
    low: float
    high: float
    pairs: int


@dataclass(frozen=True)
class ClassMaps:
    """Maps of one class.

    Attributes:
        images: number of images, ``real`` and ``made``.
        likeness: by the names of :data:`PAIRS`; None where there are too few images.
        concentration: share of the positive activation in the highest tenth of the positions, of
            ``real`` and ``made`` images; None where nothing is positive.
        uniform: the same of a map that is equal everywhere.
        pictures: sheets of images above their maps, ``real`` and ``made``.
    """

    class_name: str
    images: Mapping[str, int]
    likeness: Mapping[str, Likeness | None]
    concentration: Mapping[str, float | None]
    uniform: float | None
    pictures: tuple[Picture, ...] = ()


@dataclass(frozen=True)
class Maps:
    """Maps of one trained classifier."""

    arm: str
    regimen: float
    classes: tuple[ClassMaps, ...]


def find_maps(store: Store, plan: Plan, *, shown: bool, restricted: bool = False) -> Maps | None:
    """Read the maps of a study, without pictures where they may not be shown.

    Args:
        store: that has them.
        plan: of the study.
        shown: show pictures that may not be passed on, too.
        restricted: whether the dataset says that its images may not be.

    Raises:
        DamagedArtifactError: they cannot be read.
    """
    for task in plan.tasks.values():
        if task.kind != "cams" or task.id not in plan.done:
            continue
        artifact = read_artifact(store, "cams", task.id)
        path = artifact.file("cams.json")
        may_show = shown or not (restricted or artifact.restrictions)
        may_show = may_show and not artifact.left_out
        try:
            found = json.loads(path.read_text(encoding="utf-8"))["classes"]
            tiles, regimen = int(artifact.info["tiles"]), float(artifact.info["regimen"])
            classes = tuple(_class(entry, artifact.path, tiles, may_show) for entry in found)
            return Maps(str(artifact.info["arm"]), regimen, classes)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DamagedArtifactError(f"{path} is damaged. {mend(artifact.path)}") from error
    return None


def _class(entry: Mapping[str, Any], folder: Path, tiles: int, may_show: bool) -> ClassMaps:
    name = str(entry["class"])
    pictures = tuple(
        Picture(
            path=folder / file,
            role="real" if kind == "real" else "synthetic",
            class_name=name,
            tiles=min(tiles, entry["images"][kind]),
        )
        for kind, file in entry["pictures"].items()
        if may_show
    )
    likeness = {
        pair: Likeness(*(entry[pair][key] for key in ("mean", "low", "high", "pairs")))
        if "mean" in entry[pair]
        else None
        for pair in PAIRS
    }
    shares = {kind: entry[f"concentration_{kind}"] for kind in _KINDS}
    uniform = entry["concentration_uniform"]
    return ClassMaps(name, entry["images"], likeness, shares, uniform, pictures)


def maps_table(maps: Maps) -> pd.DataFrame:
    """Return one row for each class and kind of pair: likeness, and concentration."""
    rows = []
    for item in maps.classes:
        for pair in PAIRS:
            seen = item.likeness[pair]
            values = (seen.mean, seen.low, seen.high, seen.pairs) if seen else (None,) * 4
            shares = (item.concentration["real"], item.concentration["made"], item.uniform)
            rows.append((item.class_name, pair, *values, *shares))
    columns = ["class_name", "pair", "likeness", "low", "high", "pairs"]
    columns += ["concentration_real", "concentration_made", "concentration_uniform"]
    return pd.DataFrame(rows, columns=columns)


def maps_context(maps: Maps | None, cut: Any) -> dict[str, Any]:
    """Return what the template shows; ``cut`` turns a picture into data URIs of its tiles."""
    if maps is None:
        return {"maps": None}
    return {
        "maps": {
            "arm": maps.arm,
            "regimen": regimen_label(maps.regimen),
            "pairs": list(PAIRS.values()),
            "rows": [_row(item) for item in maps.classes],
            "sentences": list(_sentences(maps)),
            "strips": [
                (item.class_name, [_strip(picture, cut) for picture in item.pictures])
                for item in maps.classes
                if item.pictures
            ],
        }
    }


def _row(item: ClassMaps) -> dict[str, Any]:
    return {
        "class_name": item.class_name,
        "images": f"{item.images['real']} real, {item.images['made']} made",
        "likeness": [_likeness(item.likeness[pair]) for pair in PAIRS],
        "concentration": [
            _percent(item.concentration["real"]),
            _percent(item.concentration["made"]),
            _percent(item.uniform),
        ],
    }


def _strip(picture: Picture, cut: Any) -> dict[str, Any]:
    tiles, pixelated = cut(picture)
    kind = "real" if picture.role == "real" else "made"
    return {"label": _KINDS[kind], "role": picture.role, "tiles": tiles, "pixelated": pixelated}


def _sentences(maps: Maps) -> Iterator[str]:
    """Say of each class whether made images are looked at as real ones are."""
    for item in maps.classes:
        mixed, real = item.likeness["real_made"], item.likeness["real_real"]
        if mixed is None or real is None:
            few = min(item.images.values()) < _FEWEST
            why = "too few images" if few else "hardly a map differs from place to place"
            yield (
                f"{item.class_name}: {why}, so that there is nothing to compare "
                f"({count_text(item.images['real'], 'real image')}, {item.images['made']:,} made)."
            )
        elif mixed.high < real.low:
            yield (
                f"{item.class_name}: maps of made images are less like those of real ones than "
                "these are among themselves: it looks elsewhere in them."
            )
        elif mixed.low > real.high:
            yield (
                f"{item.class_name}: maps of made images are more like those of real ones than "
                "these are among themselves."
            )
        else:
            yield (
                f"{item.class_name}: whether it looks elsewhere in made images than in real ones "
                "cannot be told; the intervals overlap."
            )


def _likeness(seen: Likeness | None) -> str:
    if seen is None:
        return DASH
    low, high = _number(seen.low), _number(seen.high)
    return f"{_number(seen.mean)} ({low} to {high})"


def _number(value: float) -> str:
    return f"{value:.2f}".replace("-", MINUS)


def _percent(value: float | None) -> str:
    return DASH if value is None else f"{100 * value:.0f} %"
