"""What there is to show of images: strips, samples of generators, and where others come from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Picture:
    """One PNG that holds ``tiles`` equally wide images side by side, without gaps.

    Attributes:
        path: of the PNG.
        role: ``real`` or ``synthetic``.
        class_name: class that the images hold, or were meant to hold.
        arms: for made images, the arms that use them, comma-separated.
        regimen: for made images, the regimen they belong to.
        tiles: number of images in the strip.
    """

    path: Path
    role: str
    class_name: str
    arms: str = ""
    regimen: float | None = None
    tiles: int = 1


@dataclass(frozen=True)
class Sheet:
    """One PNG of samples of a generator in training, without gaps, a row for each class.

    Attributes:
        path: of the PNG.
        place: what the generator was fitted on and, where settings differ, by which.
        step: of the training.
        classes: names by row; empty where they are not known.
    """

    path: Path
    place: str
    step: int
    classes: tuple[str, ...] = ()


@dataclass(frozen=True)
class External:
    """Images made elsewhere.

    Attributes:
        table: path of the list of them.
        declared: who made them how, in the user's words; may be empty.
        independent: whether it is stated that no image of the dataset had a part in making them.
    """

    table: str
    declared: str = ""
    independent: bool = False
