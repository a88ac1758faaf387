"""CheXpert: chest radiographs with 14 labels mined from reports (Irvin et al. 2019, 1901.07031).

The folder is read as Stanford ships it, full or ``-small``: ``train.csv`` and ``valid.csv`` beside
``train/patient00001/study1/view1_frontal.jpg``. Patient and study are in the path, labels are
matched by name. Without the folder the label table alone serves planning, where the package
torchxrayvision is installed, whose wheel holds a copy of it.

Terms: Stanford's research use agreement. No image may be passed on, and none is in the report.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from synthtrial.data.base import Sample, make_label_table
from synthtrial.errors import ConfigError, DataError, UnreadableImageError, suggest
from synthtrial.identity import ID_LENGTH, non_default
from synthtrial.registry import Component
from synthtrial.store.images import MISSING, LabelTable

if TYPE_CHECKING:
    from synthtrial.data.radiographs import Fit, Resampling

NAMES = (
    "No Finding",
    "Enlarged Cardiomediastinum",
    "Cardiomegaly",
    "Lung Opacity",
    "Lung Lesion",
    "Edema",
    "Consolidation",
    "Pneumonia",
    "Atelectasis",
    "Pneumothorax",
    "Pleural Effusion",
    "Pleural Other",
    "Fracture",
    "Support Devices",
)
_VIEW_COLUMNS = ("Frontal/Lateral", "AP/PA")
#: ``CheXpert-v1.0-small/train/patient00001/study1/view1_frontal.jpg``; the first part may lack.
_PATH = re.compile(r"(?:(.*)/)?((train|valid|test)/(patient\d+)/study\d+/[^/]+?)\.\w+")
_WHEEL_TABLE = Path("data", "chexpert_train.csv.gz")
_GET_IT = (
    "get CheXpert from https://stanfordaimi.azurewebsites.net (research use agreement) and set "
    "dataset.path to the folder that holds train.csv"
)


@dataclass(frozen=True)
class ChexpertConfig:
    """Options of CheXpert.

    Attributes:
        path: folder that holds ``train.csv``; no id depends on it. Without it a study can be
            planned where torchxrayvision is installed, and not be run.
        part: ``train``, or ``train+valid`` with the 234 rows that radiologists labelled.
        views: ``all``, ``frontal``, its ``PA`` or ``AP``, or ``lateral``.
        exclude: labels that are left out, such as "No Finding".
        patients: keep the first so many patients of each part, for small studies.
        size: height and width in pixels.
        fit: how an image becomes square (:func:`synthtrial.data.radiographs.fit_square`).
        resampling: ``torchxrayvision``, as the paper's code has it, or ``antialias``.
        suffix: of the image files; other data sets with the same tables have ``.png`` or ``.dcm``.
        unreadable: ``stop`` if images are missing or cannot be decoded, once all were tried; or
            ``skip`` them. Either way they are listed.
    """

    path: str = ""
    part: Literal["train", "train+valid"] = "train"
    views: Literal["all", "frontal", "PA", "AP", "lateral"] = "all"
    exclude: list[str] = field(default_factory=list)
    patients: int | None = None
    size: int = 224
    fit: Literal["crop_then_resize", "resize_then_crop", "squash"] = "crop_then_resize"
    resampling: Literal["torchxrayvision", "antialias"] = "torchxrayvision"
    suffix: str = ".jpg"
    unreadable: Literal["stop", "skip"] = "stop"


@dataclass(frozen=True, eq=False)
class ChexpertTable:
    """The label tables of the chosen parts and views.

    Attributes:
        stems: of N images, ``train/patient00001/study1/view1_frontal``.
        patients: of N images.
        labels_NK: int8, columns as :data:`NAMES`; 1, 0, -1 or MISSING.
        edition: ``CheXpert-v1.0`` or ``CheXpert-v1.0-small``, as the paths begin; may be empty.
    """

    edition: str
    stems: list[str]
    patients: list[str]
    labels_NK: np.ndarray


@dataclass(frozen=True, eq=False)
class Chexpert:
    """The opened dataset; tables are read on first use."""

    config: ChexpertConfig
    classes: tuple[str, ...]
    multi_label: bool = True
    groups_known: bool = True
    licence: str = "Stanford University Dataset Research Use Agreement (CheXpert)"
    restricted: bool = True

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """One channel of ``size`` x ``size`` pixels."""
        return 1, self.config.size, self.config.size

    @property
    def expected_rows(self) -> int:
        """Number of images in the tables."""
        return len(self.table.stems)

    @property
    def unreadable(self) -> Literal["stop", "skip"]:
        """What becomes of a preparation with unreadable images."""
        return self.config.unreadable

    @property
    def origin(self) -> str:
        """Folder of the images."""
        return str(_root(self.config))

    @cached_property
    def table(self) -> ChexpertTable:
        """The tables.

        Raises:
            DataError: they are not there or not CheXpert's.
        """
        return _read_tables(_key(self.config))

    def label_table(self) -> LabelTable:
        """Return ids, patients and raw labels."""
        table = self.table
        columns = {name: table.labels_NK[:, NAMES.index(name)] for name in self.classes}
        return make_label_table(table.stems, table.patients, columns)

    def sample(self, row: int) -> Sample:
        """Read one image.

        Raises:
            UnreadableImageError: it is missing or cannot be decoded.
        """
        from synthtrial.data.radiographs import fit_square, read_grey

        table, config = self.table, self.config
        image_HW = read_grey(self._content(table.stems[row]))
        fit: Fit = config.fit
        resampling: Resampling = config.resampling
        image_SS = fit_square(image_HW, config.size, fit, resampling)
        values = table.labels_NK[row].tolist()
        labels = {
            name: None if values[k] == MISSING else values[k]
            for k, name in enumerate(NAMES)
            if name in self.classes
        }
        return Sample(table.stems[row], table.patients[row], image_SS[:, :, None], labels)

    def samples(self) -> Iterator[Sample]:
        """Yield all images in the order of the tables."""
        return (self.sample(row) for row in range(self.expected_rows))

    def _content(self, stem: str) -> bytes:
        part, _, inner = stem.partition("/")
        for folder in self._folders[part]:
            path = folder / f"{inner}{self.config.suffix}"
            try:
                return path.read_bytes()
            except FileNotFoundError:
                continue
            except IsADirectoryError:
                raise UnreadableImageError("it is a folder") from None
            except OSError as error:  # of the disk or the network, and not of this image
                raise DataError(
                    f"cannot read {path} ({error.strerror}): mend that, and run again"
                ) from error
        raise UnreadableImageError("the file is missing")

    @cached_property
    def _folders(self) -> Mapping[str, list[Path]]:
        """Folders of patients by part: ``train`` itself, or the batches of a full download.

        Those lie side by side, the tables and ``valid`` in the first one: "CheXpert-v1.0 batch 1
        (validate & csv)", "CheXpert-v1.0 batch 2 (train 1)", ...
        """
        root = _root(self.config)
        if root is None:
            raise DataError(f"there are no CheXpert images: dataset.path is not set; {_GET_IT}")
        places = [root, *([root.parent] if "batch" in root.name else [])]
        batches = [path for place in places for path in sorted(place.glob("* batch *"))]
        return {
            part: [root / part, *(batch / part for batch in batches), *batches]
            for part in self.config.part.split("+")
        }


def open_chexpert(config: ChexpertConfig) -> Chexpert:
    """Open CheXpert without reading its tables.

    Raises:
        ConfigError: an unknown label in ``exclude``, no label left, or a size too small.
    """
    for name in config.exclude:
        if name not in NAMES:
            raise ConfigError(f"dataset.exclude: no label '{name}': {suggest(name, NAMES)}")
    classes = tuple(name for name in NAMES if name not in config.exclude)
    if not classes:
        raise ConfigError("dataset.exclude leaves no label")
    if config.size < 8:
        raise ConfigError(f"dataset.size is {config.size}; allowed: 8 pixels or more")
    if config.patients is not None and config.patients < 1:
        raise ConfigError(
            f"dataset.patients is {config.patients}; allowed: 1 or more, or null for all"
        )
    if not re.fullmatch(r"\.\w+", config.suffix):
        raise ConfigError(f"dataset.suffix is '{config.suffix}'; give it as '.jpg'")
    return Chexpert(config, classes)


def identify(config: ChexpertConfig) -> Mapping[str, Any]:
    """Return what ids keep of the options: in place of the path, the digest of the labels."""
    table = _read_tables(_key(config))
    content = hashlib.sha256("\n".join(table.stems).encode())
    content.update(np.ascontiguousarray(table.labels_NK).tobytes())
    kept = non_default(dataclasses.replace(config, path="", exclude=sorted(config.exclude)))
    return {**kept, "edition": table.edition, "labels": content.hexdigest()[:ID_LENGTH]}


CHEXPERT = Component(
    "chexpert",
    1,
    ChexpertConfig,
    "synthtrial.data.chexpert:open_chexpert",
    identity="synthtrial.data.chexpert:identify",
)


@dataclass(frozen=True)
class _Key:
    """What the tables depend on, for the cache: a changed file is read again."""

    files: tuple[tuple[Path, str, int, int], ...]  # path, part, size, time of change
    views: str
    patients: int | None


def _root(config: ChexpertConfig) -> Path | None:
    return Path(config.path).expanduser() if config.path else None


def _key(config: ChexpertConfig) -> _Key:
    root = _root(config)
    files = []
    for part in config.part.split("+"):
        path = wheel_table(part) if root is None else root / f"{part}.csv"
        try:
            about = path.stat()
        except OSError:
            raise DataError(f"there is no {path}{_hint(root)}: {_GET_IT}") from None
        files.append((path, part, about.st_size, about.st_mtime_ns))
    return _Key(tuple(files), config.views, config.patients)


def _hint(root: Path | None) -> str:
    """Say where the table is if it is one folder too deep, as archives leave it."""
    below = sorted(root.glob("*/train.csv")) if root is not None and root.is_dir() else []
    return f" (but {below[0]}: set dataset.path={below[0].parent})" if below else ""


def wheel_table(part: str) -> Path:
    """Return the label table in the installed package torchxrayvision.

    Raises:
        DataError: the package is not installed, or does not hold this part.
    """
    package = find_spec("torchxrayvision")
    for folder in (package.submodule_search_locations or []) if package else []:
        path = Path(folder) / _WHEEL_TABLE
        if path.is_file() and part == "train":
            return path
    raise DataError(
        f"dataset.path is not set, so that there is no table of CheXpert's part '{part}': {_GET_IT}"
        "; to plan with the part 'train' and no images, pip install 'synthtrial[xray]'"
    )


@lru_cache(maxsize=8)
def _read_tables(key: _Key) -> ChexpertTable:
    stems: list[str] = []
    patients: list[str] = []
    labels = []
    editions: set[str] = set()
    for path, part, _, _ in key.files:
        table = _read_csv(path)
        rows = _seen_in(table, key.views)
        texts = table["Path"].to_pylist()
        matches = [_PATH.fullmatch(texts[row] or "") for row in rows]
        bad = next((row for row, match in enumerate(matches) if match is None), None)
        if bad is not None:
            raise DataError(
                f"{path}: the path '{texts[rows[bad]]}' is not of the form "
                "'CheXpert-v1.0/train/patient00001/study1/view1_frontal.jpg'"
            )
        places = [match.groups()[1:] for match in matches if match is not None]
        editions |= {(match[1] or "").rpartition("/")[2] for match in matches if match is not None}
        keep = _first_patients([place[2] for place in places], key.patients)
        stems += [places[row][0] for row in keep]
        patients += [places[row][2] for row in keep]
        labels.append(_labels(path, table)[rows[keep]])
        wrong = next((place for place in places if place[1] != part), None)
        if wrong is not None:
            raise DataError(f"{path} lists '{wrong[0]}', which is not of the part '{part}'")
    if len(set(stems)) != len(stems):
        raise DataError(f"{key.files[0][0]} lists an image twice; download it again")
    if not stems:
        raise DataError(f"{key.files[0][0]} lists no image with views={key.views}")
    labels_NK = np.concatenate(labels)
    labels_NK.flags.writeable = False
    return ChexpertTable("+".join(sorted(editions)), stems, patients, labels_NK)


def _read_csv(path: Path) -> Any:
    import pyarrow as pa
    from pyarrow import csv

    texts = dict.fromkeys(("Path", *_VIEW_COLUMNS, *NAMES), pa.string())
    try:
        convert = csv.ConvertOptions(
            column_types=texts,
            include_columns=list(texts),
            strings_can_be_null=True,
            null_values=[""],
        )
        return csv.read_csv(path, convert_options=convert)
    except KeyError as error:
        raise DataError(f"{path} lacks a column of CheXpert: {error.args[0]}") from None
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"cannot read {path} ({error}); download it again") from error


def _seen_in(table: Any, views: str) -> np.ndarray:
    """Return the rows of these views; pyarrow's own filters would import pandas."""
    if views == "all":
        return np.arange(len(table))
    whole = views in ("frontal", "lateral")
    seen = table["Frontal/Lateral" if whole else "AP/PA"].to_pylist()
    wanted = views.capitalize() if whole else views
    return np.array([row for row, text in enumerate(seen) if text == wanted], dtype=np.int64)


def _labels(path: Path, table: Any) -> np.ndarray:
    """Return the raw labels as int8, an empty field as MISSING."""
    labels_NK = np.empty((len(table), len(NAMES)), dtype=np.int8)
    for k, name in enumerate(NAMES):
        texts = table[name].to_pylist()
        values = {text: _label(path, name, text) for text in set(texts)}
        labels_NK[:, k] = np.fromiter(map(values.__getitem__, texts), np.int8, len(texts))
    return labels_NK


def _label(path: Path, name: str, text: str | None) -> int:
    if text is None:
        return MISSING
    try:
        return {1.0: 1, 0.0: 0, -1.0: -1}[float(text)]
    except (KeyError, ValueError):
        raise DataError(
            f"{path}, column '{name}' holds '{text}'; allowed: 1, 0, -1, empty"
        ) from None


def _first_patients(patients: list[str], limit: int | None) -> np.ndarray:
    """Return the rows of the first so many patients by name, in order."""
    if limit is None:
        return np.arange(len(patients))
    kept = set(sorted(set(patients))[:limit])
    return np.array([row for row, name in enumerate(patients) if name in kept], dtype=np.int64)
