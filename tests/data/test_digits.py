import gzip
import subprocess
import sys

import numpy as np
import pytest

from synthtrial.data import digits
from synthtrial.data.base import image_rows
from synthtrial.data.digits import DIGITS, DigitsConfig
from synthtrial.data.labels import check_single_label, class_counts
from synthtrial.errors import ConfigError, DataError


def test_pixels_and_labels_are_those_of_scikit_learn():
    from sklearn.datasets import load_digits

    bunch = load_digits()
    rows = list(image_rows(DIGITS.load()(DigitsConfig())))
    images = np.stack([row.image_HWC[:, :, 0] for row in rows])
    assert images.dtype == np.uint8
    assert images.shape == (1797, 8, 8)
    np.testing.assert_array_equal(images, np.rint(bunch.images * 255 / 16))
    names = [next(name for name, value in row.labels.items() if value == 1) for row in rows]
    assert names == [str(digit) for digit in bunch.target]
    assert rows[0].sample_id == "digits-0000"
    assert rows[0].group_id is None


def test_the_label_table_needs_no_scikit_learn():
    code = (
        "import sys\n"
        "from synthtrial.data.digits import DIGITS, DigitsConfig\n"
        "table = DIGITS.load()(DigitsConfig()).label_table()\n"
        "assert len(table) == 1797\n"
        "found = {'sklearn', 'torch', 'scipy', 'pandas'} & set(sys.modules)\n"
        "assert not found, found\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_class_order_changes_only_what_is_shown():
    order = list("9081726354")
    plain, permuted = (DIGITS.load()(DigitsConfig(class_order=o)) for o in ([], order))
    assert permuted.classes == tuple(order)
    table, other = plain.label_table(), permuted.label_table()
    assert table.classes == other.classes == tuple("0123456789")
    np.testing.assert_array_equal(table.labels_NK, other.labels_NK)
    check_single_label(table)
    assert class_counts(table.labels_NK, table.classes)["8"] == 174
    for sample, same in zip(plain.samples(), permuted.samples(), strict=True):
        assert sample.labels == same.labels


@pytest.mark.parametrize("order", [["0", "1"], [*"012345678", "nine"], list("0012345678")])
def test_a_class_order_that_is_none_is_refused(order):
    with pytest.raises(ConfigError, match="must hold each of"):
        DIGITS.load()(DigitsConfig(class_order=order))


def test_a_damaged_or_missing_file_is_named(tmp_path, monkeypatch):
    short = tmp_path / "digits.csv.gz"
    with gzip.open(short, "wt") as file:
        file.write("1,2,3\n")
    with pytest.raises(DataError, match=r"holds a table of \(1, 3\).*pip install"):
        digits._read(short)
    torn = tmp_path / "torn.csv.gz"
    torn.write_bytes(digits._path().read_bytes()[:5000])
    with pytest.raises(DataError, match=r"cannot read the digits in .*torn"):
        digits._read(torn)
    monkeypatch.setattr(digits, "find_spec", lambda _: None)
    with pytest.raises(DataError, match="not installed"):
        digits._path()
