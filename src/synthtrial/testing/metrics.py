"""What every metric must do, for plug-in authors to run on their own.

Subclass the contract in a pytest file and say what is to be tested:

    class TestMyMetric(MetricContract):
        component = my_package.MY_METRIC
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from synthtrial.registry import Component

_CLASSES = 4
_ROWS = 60


class MetricContract:
    """The contract of a metric plug-in.

    Attributes:
        component: the metric.
        multi_label: whether it is tried with one class a row, with several, or with both.
        perfect: value of a faultless prediction.
    """

    component: ClassVar[Component]
    multi_label: ClassVar[tuple[bool, ...]] = (False, True)
    perfect: ClassVar[float] = 1.0

    def compute(
        self, scores_NK: np.ndarray, targets_NK: np.ndarray, *, multi_label: bool
    ) -> np.ndarray:
        """Compute the metric: an array without dimensions, or one value for each class."""
        metric = self.component.load()
        return np.asarray(metric(scores_NK, targets_NK, multi_label=multi_label), dtype=float)

    def example(self, *, multi_label: bool) -> tuple[np.ndarray, np.ndarray]:
        """Return scores in [0, 1] and targets with every class present and absent."""
        numbers = np.random.default_rng(0)
        targets_NK = np.eye(_CLASSES)[np.arange(_ROWS) % _CLASSES]
        if multi_label:
            targets_NK = np.maximum(targets_NK, numbers.random(targets_NK.shape) < 0.2)
        scores_NK = numbers.random(targets_NK.shape) + targets_NK
        total = scores_NK.max() if multi_label else scores_NK.sum(1, keepdims=True)
        return scores_NK / total, targets_NK

    def test_returns_one_number_or_one_for_each_class(self) -> None:
        """Anything else cannot be recorded."""
        for multi_label in self.multi_label:
            values = self.compute(*self.example(multi_label=multi_label), multi_label=multi_label)
            assert values.shape in ((), (_CLASSES,)), f"the metric has shape {values.shape}"
            assert np.isfinite(values).all()

    def test_a_faultless_prediction_has_the_declared_value(self) -> None:
        """Scores equal to the targets."""
        for multi_label in self.multi_label:
            _, targets_NK = self.example(multi_label=multi_label)
            values = self.compute(targets_NK, targets_NK, multi_label=multi_label)
            np.testing.assert_allclose(values, self.perfect)

    def test_the_order_of_rows_does_not_matter(self) -> None:
        """Shuffled rows give the same value."""
        order = np.random.default_rng(1).permutation(_ROWS)
        for multi_label in self.multi_label:
            scores_NK, targets_NK = self.example(multi_label=multi_label)
            values = self.compute(scores_NK, targets_NK, multi_label=multi_label)
            shuffled = self.compute(scores_NK[order], targets_NK[order], multi_label=multi_label)
            np.testing.assert_allclose(shuffled, values)

    def test_the_order_of_classes_does_not_matter(self) -> None:
        """Permuted columns give the same values, permuted if there is one for each class."""
        order = np.random.default_rng(2).permutation(_CLASSES)
        for multi_label in self.multi_label:
            scores_NK, targets_NK = self.example(multi_label=multi_label)
            values = self.compute(scores_NK, targets_NK, multi_label=multi_label)
            permuted = self.compute(
                scores_NK[:, order], targets_NK[:, order], multi_label=multi_label
            )
            np.testing.assert_allclose(permuted, values[order] if values.ndim else values)

    def test_what_is_undefined_is_nan_and_never_zero(self) -> None:
        """Without a single row nothing is defined."""
        empty_NK = np.zeros((0, _CLASSES))
        for multi_label in self.multi_label:
            values = self.compute(empty_NK, empty_NK, multi_label=multi_label)
            assert np.isnan(values).all(), f"no rows gave {values}"

    def test_ignored_labels_do_not_count(self) -> None:
        """Where a label is NaN its score may be anything."""
        if True not in self.multi_label:
            return
        scores_NK, targets_NK = self.example(multi_label=True)
        targets_NK[::5, 0] = np.nan
        other_NK = scores_NK.copy()
        other_NK[::5, 0] = 1 - other_NK[::5, 0]
        np.testing.assert_array_equal(
            self.compute(scores_NK, targets_NK, multi_label=True),
            self.compute(other_NK, targets_NK, multi_label=True),
        )

    def test_inputs_are_left_as_they_are(self) -> None:
        """Other metrics get the same arrays."""
        for multi_label in self.multi_label:
            scores_NK, targets_NK = self.example(multi_label=multi_label)
            scores_NK.flags.writeable = targets_NK.flags.writeable = False
            self.compute(scores_NK, targets_NK, multi_label=multi_label)
