"""A made EuroSAT: Parquet files as the Hugging Face hub has `blanchon/EuroSAT_RGB`.

    write_eurosat(folder, MadeEurosat(scale=0.02))
    synthtrial run eurosat dataset.path=FOLDER

    data/train-00000-of-00001.parquet        image: struct<bytes, path>, label: int64
    data/validation-00000-of-00001.parquet   (JPEG of 64x64 pixels; the schema names the classes)
    data/test-00000-of-00001.parquet

Each class has its colours and its pattern, so that a classifier can learn it: a straight band is a
highway, a bent blue one a river. A picture depends on the seed, its side, its class and its number
there, and on nothing else.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from synthtrial.errors import ConfigError
from synthtrial.identity import stream
from synthtrial.store.files import temporary_name

#: EuroSAT's images by class (Helber et al. 2019), in the order of the hub's class numbers.
CLASSES: Mapping[str, int] = {
    "Annual Crop": 3000,
    "Forest": 3000,
    "Herbaceous Vegetation": 3000,
    "Highway": 2500,
    "Industrial Buildings": 2500,
    "Pasture": 2000,
    "Permanent Crop": 2500,
    "Residential Buildings": 3000,
    "River": 2500,
    "SeaLake": 3000,
}
#: Fifths of the images on each side: 16,200, 5,400 and 5,400 of 27,000.
FIFTHS: Mapping[str, int] = {"train": 3, "validation": 1, "test": 1}
SIDE = 64  # pixels
_GRAIN = 9  # levels of the 256
_TINT = 14


@dataclass(frozen=True)
class MadeEurosat:
    """Options of a made folder.

    Attributes:
        scale: images of each class on each side, as a part of EuroSAT's; there is at least one.
            Sides are of equal make-up, which the true ones are roughly.
        seed: of the pictures and of their order.
    """

    scale: float = 1.0
    seed: int = 0


def class_sizes(options: MadeEurosat) -> dict[str, dict[str, int]]:
    """Return the number of images by side and class."""
    return {
        side: {
            name: max(1, round(options.scale * count * fifths / 5))
            for name, count in CLASSES.items()
        }
        for side, fifths in FIFTHS.items()
    }


def write_eurosat(folder: Path, options: MadeEurosat = MadeEurosat()) -> None:
    """Write the three files of a made EuroSAT.

    Args:
        folder: made if it is not there; files of the same names are replaced.
        options: of the folder.

    Raises:
        ConfigError: the scale is not above 0 and up to 1.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not 0 < options.scale <= 1:
        raise ConfigError(f"scale is {options.scale}; allowed: above 0 and up to 1")
    names = list(CLASSES)
    features = {
        "image": {"_type": "Image"},
        "label": {"names": names, "_type": "ClassLabel"},
    }
    schema = pa.schema(
        [
            ("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
            ("label", pa.int64()),
        ],
        metadata={"huggingface": json.dumps({"info": {"features": features}})},
    )
    for side, sizes in class_sizes(options).items():
        rows = [(name, number) for name in names for number in range(sizes[name])]
        order = stream(options.seed, "made-eurosat", side, "order").permutation(len(rows))
        images, labels = [], []
        for name, number in (rows[row] for row in order.tolist()):
            image_HWC = draw(name, side, number, options.seed)
            path = f"{name.replace(' ', '')}_{number + 1}.jpg"
            images.append({"bytes": _encoded(image_HWC), "path": path})
            labels.append(names.index(name))
        place = folder / "data" / f"{side}-00000-of-00001.parquet"
        place.parent.mkdir(parents=True, exist_ok=True)
        temporary = temporary_name(place)
        pq.write_table(pa.table([images, labels], schema=schema), temporary, row_group_size=100)
        temporary.replace(place)


def draw(name: str, side: str, number: int, seed: int) -> np.ndarray:
    """Draw an image.

    Args:
        name: of its class.
        side: ``train``, ``validation`` or ``test``.
        number: of the image among those of its class and side.
        seed: of all pictures.

    Returns:
        image_HWC, uint8, 64x64 pixels, RGB.
    """
    random = stream(seed, "made-eurosat", side, name, number)
    ground, mark, pattern = _LOOKS[name]
    mask_HW1 = pattern(random).astype(np.float64)[..., None]
    tint_C = random.uniform(-_TINT, _TINT, 3)
    x_HWC = np.array(ground) * (1 - mask_HW1) + np.array(mark) * mask_HW1 + tint_C
    x_HWC += random.normal(0, _GRAIN, (SIDE, SIDE, 1))
    image_HWC: np.ndarray = np.clip(x_HWC, 0, 255).astype(np.uint8)
    return image_HWC


def _encoded(image_HWC: np.ndarray) -> bytes:
    target = io.BytesIO()
    Image.fromarray(image_HWC).save(target, "jpeg", quality=90)
    return target.getvalue()


def _across(random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return distances in pixels along and across a random direction, from near the middle."""
    angle, (i, j) = random.uniform(0, np.pi), random.uniform(0.3, 0.7, 2) * SIDE
    u_HW, v_HW = np.arange(SIDE)[None] - j, np.arange(SIDE)[:, None] - i
    along_HW = u_HW * np.cos(angle) + v_HW * np.sin(angle)
    return along_HW, v_HW * np.cos(angle) - u_HW * np.sin(angle)


def _plain(random: np.random.Generator) -> np.ndarray:
    del random
    return np.zeros((SIDE, SIDE))


def _band(random: np.random.Generator) -> np.ndarray:
    _, across_HW = _across(random)
    return np.asarray(np.abs(across_HW) < random.uniform(2, 4))


def _bend(random: np.random.Generator) -> np.ndarray:
    along_HW, across_HW = _across(random)
    middle_HW = random.uniform(6, 12) * np.sin(along_HW / random.uniform(8, 12))
    return np.asarray(np.abs(across_HW - middle_HW) < random.uniform(5, 8))


def _fields(random: np.random.Generator) -> np.ndarray:
    along_HW, across_HW = _across(random)
    return np.asarray((np.floor(along_HW / 24) + np.floor(across_HW / 17)) % 2)


def _rows(random: np.random.Generator) -> np.ndarray:
    _, across_HW = _across(random)
    return np.asarray((across_HW // 2) % 2)


def _patches(size: int, share: float) -> Callable[[np.random.Generator], np.ndarray]:
    """Return a pattern of squares of so many pixels, that fill so much of the image."""

    def pattern(random: np.random.Generator) -> np.ndarray:
        cells = random.random((SIDE // size, SIDE // size)) < share
        return np.kron(cells, np.ones((size, size)))

    return pattern


_Pattern = Callable[[np.random.Generator], np.ndarray]
_Colour = tuple[int, int, int]
#: Colours (RGB) of the ground and of what is on it, and where that is.
_LOOKS: Mapping[str, tuple[_Colour, _Colour, _Pattern]] = {
    "Annual Crop": ((150, 120, 85), (105, 120, 70), _fields),
    "Forest": ((35, 65, 45), (25, 50, 40), _patches(2, 0.5)),
    "Herbaceous Vegetation": ((115, 125, 80), (90, 105, 65), _patches(8, 0.4)),
    "Highway": ((95, 110, 75), (190, 185, 180), _band),
    "Industrial Buildings": ((110, 105, 105), (225, 225, 230), _patches(16, 0.4)),
    "Pasture": ((80, 140, 70), (80, 140, 70), _plain),
    "Permanent Crop": ((140, 115, 90), (75, 95, 60), _rows),
    "Residential Buildings": ((95, 100, 85), (200, 165, 150), _patches(4, 0.35)),
    "River": ((95, 110, 75), (40, 75, 110), _bend),
    "SeaLake": ((25, 55, 95), (25, 55, 95), _plain),
}
