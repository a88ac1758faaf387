"""Made pictures that look roughly like chest radiographs, with a mark for every finding.

Coordinates are (u, v) from the middle to the right and downwards, in halves of the shorter side, so
that cutting out the middle square moves nothing. The picture is drawn small, enlarged, and grained.
"""

from __future__ import annotations

import io
from collections.abc import Mapping

import numpy as np
from PIL import Image

from synthtrial.identity import stream

#: Height and width of what CheXpert-small holds, in shorter sides of 320 pixels.
_SHAPES = ((390, 320), (320, 390), (365, 320), (320, 365), (320, 320), (320, 389))
_COARSE = 96  # shorter side of the drawing
_GRAIN = 7  # grey levels
#: Where a class shows on a frontal image, and how: u, v, their radii, grey levels.
MARKS: Mapping[str, tuple[tuple[float, float, float, float, float], ...]] = {
    "No Finding": ((-0.74, -0.76, 0.12, 0.12, 110),),
    "Enlarged Cardiomediastinum": ((0.0, -0.45, 0.26, 0.3, 75),),
    "Cardiomegaly": ((0.18, 0.36, 0.44, 0.26, 75),),
    "Lung Opacity": ((-0.42, 0.08, 0.24, 0.2, 85),),
    "Lung Lesion": ((0.44, -0.42, 0.14, 0.14, 120),),
    "Edema": ((-0.28, -0.2, 0.14, 0.22, 80), (0.28, -0.2, 0.14, 0.22, 80)),
    "Consolidation": ((0.46, 0.14, 0.16, 0.16, 95),),
    "Pneumonia": ((-0.5, 0.36, 0.18, 0.15, 95),),
    "Atelectasis": ((0.46, -0.12, 0.24, 0.09, 105),),
    "Pneumothorax": ((-0.44, -0.58, 0.22, 0.14, -110),),
    "Pleural Effusion": ((-0.6, 0.62, 0.2, 0.14, 85), (0.62, 0.56, 0.2, 0.16, 95)),
    "Pleural Other": ((-0.76, -0.08, 0.1, 0.26, 95),),
    "Fracture": ((0.76, -0.28, 0.14, 0.1, -120),),
    "Support Devices": ((0.04, -0.1, 0.07, 0.75, 90),),
}


def draw_radiograph(
    name: str, labels: Mapping[str, int], lateral: bool, side: int, seed: int
) -> np.ndarray:
    """Draw an image.

    Args:
        name: of the image, ``train/patient00001/study1/view1_frontal``: two parts are the patient.
        labels: by class; 1 shows, -1 (uncertain) does half the time.
        lateral: seen from the side.
        side: length of the shorter side in pixels.
        seed: of all pictures.

    Returns:
        image_HW, uint8.
    """
    patient = stream(seed, "radiograph", *name.split("/")[:2]).random(4)
    random = stream(seed, "radiograph", name)
    shape = _SHAPES[random.integers(len(_SHAPES))]
    shown, strengths = random.random(len(MARKS)) < 0.5, random.uniform(0.3, 1, len(MARKS))
    height, width = (round(_COARSE * length / 320) for length in shape)
    shift = random.normal(0, 0.02, 2)
    u_W = ((np.arange(width, dtype=np.float32) - width / 2 + 0.5) * 2 / _COARSE) - shift[0]
    v_H = ((np.arange(height, dtype=np.float32) - height / 2 + 0.5) * 2 / _COARSE) - shift[1]
    x_HW = _lateral(u_W, v_H, patient) if lateral else _frontal(u_W, v_H, patient)
    for (label, marks), uncertain, strength in zip(MARKS.items(), shown, strengths, strict=True):
        if labels[label] == 1 or (labels[label] == -1 and uncertain):
            for u, v, ru, rv, grey in marks:
                place = (0.75 * u, v, 0.75 * ru, rv) if lateral else (u, v, ru, rv)
                x_HW += strength * grey * np.minimum(1, 2 * _bump(u_W, v_H, *place))
    x_HW *= random.uniform(0.9, 1.05)
    coarse = Image.fromarray(np.clip(x_HW, 0, 255).astype(np.uint8))
    height, width = (round(side * length / 320) for length in shape)
    smooth_HW = np.asarray(coarse.resize((width, height), Image.Resampling.BILINEAR))
    grain_HW = random.integers(-_GRAIN, _GRAIN + 1, smooth_HW.shape, dtype=np.int16)
    grain_HW += smooth_HW
    image_HW: np.ndarray = np.clip(grain_HW, 0, 255, out=grain_HW).astype(np.uint8)
    return image_HW


def encode_radiograph(image_HW: np.ndarray, *, sixteen_bit: bool = False) -> bytes:
    """Return an image as JPEG, or as a PNG of 16 bits whose high bytes are its pixels."""
    target = io.BytesIO()
    if sixteen_bit:
        Image.fromarray(image_HW.astype(np.uint16) * 257).save(target, "png", compress_level=1)
    else:
        Image.fromarray(image_HW).save(target, "jpeg", quality=85)
    return target.getvalue()


def _frontal(u_W: np.ndarray, v_H: np.ndarray, patient: np.ndarray) -> np.ndarray:
    ru, rv = 0.28 + 0.05 * patient[0], 0.56 + 0.08 * patient[1]
    lungs = np.maximum(_bump(u_W, v_H, -0.44, -0.06, ru, rv), _bump(u_W, v_H, 0.44, -0.06, ru, rv))
    lungs = np.minimum(1, 3 * lungs)
    ribs = np.sin(16 * (v_H[:, None] + 0.5 * (np.abs(u_W) - 0.4)[None] ** 2))
    heart = _bump(u_W, v_H, 0.12, 0.32, 0.26 + 0.06 * patient[2], 0.22)
    middle = np.maximum(0, 1 - (u_W / 0.2) ** 2)[None]
    air = np.clip((np.abs(u_W) - 0.95) * 5, 0, 1)[None]
    below = np.clip((v_H - 0.5) * 3, 0, 1)[:, None]
    drawn: np.ndarray = (
        130 + lungs * (16 * ribs - 80) + 35 * middle + 40 * heart + 25 * below - 110 * air
    )
    return drawn.astype(np.float32)


def _lateral(u_W: np.ndarray, v_H: np.ndarray, patient: np.ndarray) -> np.ndarray:
    lung = np.minimum(1, 3 * _bump(u_W, v_H, -0.05, -0.08, 0.55 + 0.06 * patient[0], 0.66))
    ribs = np.sin(15 * (v_H[:, None] - 0.35 * u_W[None]))
    heart = _bump(u_W, v_H, -0.25, 0.3, 0.3, 0.26 + 0.06 * patient[2])
    spine = np.maximum(0, 1 - ((u_W - 0.62) / 0.14) ** 2)[None]
    air = np.clip((np.abs(u_W) - 0.8) * 5, 0, 1)[None]
    below = np.clip((v_H - 0.5) * 3, 0, 1)[:, None]
    drawn: np.ndarray = (
        130 + lung * (16 * ribs - 70) + 55 * spine + 45 * heart + 25 * below - 120 * air
    )
    return drawn.astype(np.float32)


def _bump(u_W: np.ndarray, v_H: np.ndarray, u: float, v: float, ru: float, rv: float) -> np.ndarray:
    """Return 1 in the middle of an ellipse, falling to 0 at its edge."""
    inside: np.ndarray = (1 - ((v_H - v) / rv) ** 2)[:, None] - (((u_W - u) / ru) ** 2)[None]
    bump: np.ndarray = np.clip(inside, 0, None)
    return bump
