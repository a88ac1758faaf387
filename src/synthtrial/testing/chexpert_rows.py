"""Rows of a made CheXpert's tables: patients, studies, views and labels, simulated or real.

Prevalences of simulated labels are those of CheXpert's own table (Irvin et al. 2019, arXiv
1901.07031); real labels are rows of whole patients out of that table.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from synthtrial.data.chexpert import NAMES, wheel_table
from synthtrial.identity import stream
from synthtrial.store.images import MISSING

_VALID_SHARE = 20  # training patients for one of validation
_FIRST_VALID = 64541  # number of CheXpert's first patient there
_HOLDERS = 8  # patients that hold every simulated class, so that small sets can be split
_STUDIES = 2.9  # of a patient, on average
_LATERAL, _SECOND_FRONTAL = 0.17, 0.02  # chances that a study has such a view too
_VIEWS = {"AP": 0.845, "PA": 0.15, "LL": 0.003, "RL": 0.002}  # of frontal images
#: Shares of rows in CheXpert's table that are positive, uncertain and negative; how far a class
#: follows the severity of an illness. "No Finding" is what has nothing else.
_SHARES: Mapping[str, tuple[float, float, float, float]] = {
    "Enlarged Cardiomediastinum": (0.0483, 0.0555, 0.0969, 0.1),
    "Cardiomegaly": (0.1209, 0.0362, 0.0498, 0.3),
    "Lung Opacity": (0.4726, 0.0251, 0.0295, 0.45),
    "Lung Lesion": (0.0411, 0.0067, 0.0057, -0.1),
    "Edema": (0.2339, 0.0581, 0.0928, 0.5),
    "Consolidation": (0.0662, 0.1242, 0.1258, 0.2),
    "Pneumonia": (0.0270, 0.0840, 0.0125, 0.1),
    "Atelectasis": (0.1494, 0.1510, 0.0059, 0.2),
    "Pneumothorax": (0.0870, 0.0141, 0.2522, -0.1),
    "Pleural Effusion": (0.3858, 0.0520, 0.1584, 0.55),
    "Pleural Other": (0.0158, 0.0119, 0.0014, 0.0),
    "Fracture": (0.0405, 0.0029, 0.0112, 0.0),
    "Support Devices": (0.5192, 0.0048, 0.0275, 0.5),
}
_NO_FINDING, _NO_FINDING_SHARE = NAMES.index("No Finding"), 0.1002
_DEVICES = NAMES.index("Support Devices")
_VALUES = {"1.0": 1, "0.0": 0, "-1.0": -1, "": MISSING}


@dataclass(frozen=True)
class Row:
    """A line of a table; the name is ``train/patient00001/study1/view1_frontal``."""

    name: str
    sex: str
    age: str
    view: str  # AP, PA, LL or RL; empty for lateral images
    labels: tuple[int, ...]

    @property
    def lateral(self) -> bool:
        """Whether it is seen from the side."""
        return not self.view

    @property
    def patient(self) -> str:
        """The patient's name."""
        return self.name.split("/")[1]

    @property
    def study(self) -> str:
        """The study's name."""
        return self.name.split("/")[2]


def made_tables(patients: int, seed: int, *, real: bool) -> dict[str, list[Row]]:
    """Return the rows of the parts ``train`` and ``valid``.

    Args:
        patients: of the training part; a twentieth as many are in the other.
        seed: of all that is drawn.
        real: whether label rows are drawn from CheXpert's table.

    Raises:
        DataError: they are, and the package torchxrayvision is not installed.
    """
    made = _real_rows if real else _simulated_rows
    train = [f"train/patient{number + 1:05d}" for number in range(patients)]
    few = max(1, patients // _VALID_SHARE)
    valid = [f"valid/patient{number + _FIRST_VALID:05d}" for number in range(few)]
    rows = made([*train, *valid], seed)
    first = {row.patient: row.study for row in reversed(rows)}
    valid_rows = [  # one study a patient; radiologists labelled every class, and were certain
        dataclasses.replace(row, labels=tuple(int(v in (1, -1)) for v in row.labels))
        for row in rows
        if row.name.startswith("valid/") and row.study == first[row.patient]
    ]
    return {"train": [row for row in rows if row.name.startswith("train/")], "valid": valid_rows}


def _simulated_rows(patients: Sequence[str], seed: int) -> list[Row]:
    random = stream(seed, "made-chexpert", "table")
    studies_P = np.minimum(random.geometric(1 / _STUDIES, len(patients)), 20)
    of_S = np.repeat(np.arange(len(patients)), studies_P)
    labels_SK = _simulated_labels(of_S, random)
    sexes = random.choice(["Male", "Female"], len(patients), p=[0.59, 0.41])
    ages = np.clip(random.normal(60, 18, len(patients)), 18, 90).astype(int)
    views = random.choice(list(_VIEWS), (len(of_S), 2), p=list(_VIEWS.values()))
    more = random.random((len(of_S), 2)) < (_SECOND_FRONTAL, _LATERAL)
    rows = []
    for study, patient in enumerate(of_S.tolist()):
        number = study - int(np.searchsorted(of_S, patient)) + 1
        seen = ["frontal", *(["frontal"] if more[study, 0] else [])]
        seen += ["lateral"] if more[study, 1] else []
        labels = tuple(labels_SK[study].tolist())
        for k, kind in enumerate(seen):
            name = f"{patients[patient]}/study{number}/view{k + 1}_{kind}"
            view = str(views[study, k]) if kind == "frontal" else ""
            rows.append(Row(name, str(sexes[patient]), str(ages[patient]), view, labels))
    return rows


def _simulated_labels(of_S: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Draw the labels of studies: each class a normal number that leans to one of severity."""
    patients = int(of_S.max()) + 1
    severity_S = _lasting(random, (patients, 1), of_S)[:, 0]
    own_SK = _lasting(random, (patients, len(NAMES)), of_S)
    labels_SK = np.full(own_SK.shape, MISSING, dtype=np.int8)
    for name, (*shares, lean) in _SHARES.items():
        k = NAMES.index(name)
        x_S = lean * severity_S + (1 - lean**2) ** 0.5 * own_SK[:, k]
        for value, above in zip((0, -1, 1), np.cumsum(shares)[::-1], strict=True):
            labels_SK[x_S > NormalDist().inv_cdf(1 - above), k] = value
    found_SK = np.delete(np.isin(labels_SK, (1, -1)), (_NO_FINDING, _DEVICES), axis=1)
    clean_S = ~found_SK.any(axis=1)
    chance = min(1.0, _NO_FINDING_SHARE / max(clean_S.mean(), 1e-9))
    labels_SK[clean_S & (random.random(len(of_S)) < chance), _NO_FINDING] = 1
    least = min(_HOLDERS, patients // 3)
    for k in range(len(NAMES)):  # "No Finding" first
        lacking = least - len(np.unique(of_S[labels_SK[:, k] == 1]))
        free = np.flatnonzero((labels_SK[:, _NO_FINDING] != 1) & (labels_SK[:, k] != 1))
        _, firsts = np.unique(of_S[free], return_index=True)
        chosen = random.permutation(free[firsts])[: max(lacking, 0)]
        if k == _NO_FINDING:
            labels_SK[chosen] = MISSING
        labels_SK[chosen, k] = 1
    return labels_SK


def _lasting(random: np.random.Generator, shape: tuple[int, int], of_S: np.ndarray) -> np.ndarray:
    """Return normal numbers of studies, half of whose variance is their patient's."""
    of_patients = random.standard_normal(shape)[of_S]
    drawn: np.ndarray = (of_patients + random.standard_normal(of_patients.shape)) / 2**0.5
    return drawn


def _real_rows(patients: Sequence[str], seed: int) -> list[Row]:
    """Give each made patient the rows of a real one: studies, views, sex, age and labels."""
    import pyarrow as pa
    from pyarrow import csv as arrow

    texts = dict.fromkeys(("Path", "Sex", "Age", "AP/PA", *NAMES), pa.string())
    options = arrow.ConvertOptions(column_types=texts, include_columns=list(texts))
    table = arrow.read_csv(wheel_table("train"), convert_options=options)
    paths = [path.rsplit("/", 3)[1:] for path in table["Path"].to_pylist()]
    rows_of: dict[str, list[int]] = {}
    for row, (patient, _, _) in enumerate(paths):
        rows_of.setdefault(patient, []).append(row)
    drawn = stream(seed, "made-chexpert", "patients").permutation(sorted(rows_of))
    taken = [(patient, drawn[k % len(drawn)]) for k, patient in enumerate(patients)]
    made = [(patient, row) for patient, real in taken for row in rows_of[real]]
    rows = []
    for (patient, row), cells in zip(
        made, table.take([row for _, row in made]).to_pylist(), strict=True
    ):
        _, study, file = paths[row]
        name = f"{patient}/{study}/{file.partition('.')[0]}"
        labels = tuple(_VALUES[cells[label] or ""] for label in NAMES)
        rows.append(Row(name, cells["Sex"], cells["Age"], cells["AP/PA"] or "", labels))
    return rows
