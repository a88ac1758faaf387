"""What every classifier and augmentation must do, for plug-in authors to run on their own.

Subclass a contract in a pytest file and say what is to be tested:

    class TestMyClassifier(ClassifierContract):
        component = my_package.MY_CLASSIFIER
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn

from synthtrial.classify.augment import Augmentation
from synthtrial.classify.rows import Rows
from synthtrial.classify.training import build_model, fit
from synthtrial.config import TrainingConfig
from synthtrial.registry import Component


class ClassifierContract:
    """The contract of a classifier plug-in.

    Attributes:
        component: the classifier.
        options: instance of its config; by default the config's defaults.
        shapes: (channels, size in pixels) that it is tried with.
    """

    component: ClassVar[Component]
    options: ClassVar[Any] = None
    shapes: ClassVar[tuple[tuple[int, int], ...]] = ((1, 8), (1, 28), (3, 32))

    def build(self, channels: int, size: int, outputs: int = 3, *, seed: int = 0) -> nn.Module:
        """Build the classifier as a trial does."""
        options = self.component.config() if self.options is None else self.options
        return build_model(
            self.component,
            options,
            channels=channels,
            size=size,
            outputs=outputs,
            seed=seed,
            replicate=0,
        )

    def test_returns_one_logit_for_each_class(self) -> None:
        """Images of every declared shape give logits (B, K), a batch of one included."""
        for channels, size in self.shapes:
            for outputs in (2, 5):
                model = self.build(channels, size, outputs).eval()
                for batch in (1, 4):
                    with torch.no_grad():
                        logits_BK = model(torch.zeros(batch, channels, size, size))
                    assert logits_BK.shape == (batch, outputs), (
                        f"{channels}x{size}x{size}: logits have shape {tuple(logits_BK.shape)}, "
                        f"not {(batch, outputs)}"
                    )
                    assert logits_BK.dtype == torch.float32

    def test_trains_on_a_batch_of_one(self) -> None:
        """The last batch of an epoch may hold a single image."""
        for channels, size in self.shapes:
            model = self.build(channels, size).train()
            logits_BK = model(torch.randn(1, channels, size, size))
            torch.autograd.backward(logits_BK.square().sum())
            assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())

    def test_initial_weights_depend_on_the_seed_alone(self) -> None:
        """Building twice gives equal bits, another seed gives others, torch's state is kept."""
        channels, size = self.shapes[0]
        before = torch.random.get_rng_state()
        first, again = self.build(channels, size), self.build(channels, size)
        other = self.build(channels, size, seed=1)
        assert torch.equal(before, torch.random.get_rng_state())
        pairs = list(zip(first.parameters(), again.parameters(), strict=True))
        assert all(torch.equal(a, b) for a, b in pairs), "equal seeds built different weights"
        others = zip(first.parameters(), other.parameters(), strict=True)
        assert not all(torch.equal(a, b) for a, b in others), "the seed is ignored"

    def test_evaluation_looks_at_each_image_alone(self) -> None:
        """In eval mode an image's logits do not depend on the others in its batch."""
        channels, size = self.shapes[0]
        model = self.build(channels, size).eval()
        x_BCHW = torch.rand(4, channels, size, size, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            together, alone = model(x_BCHW), torch.cat([model(x[None]) for x in x_BCHW])
        torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)

    def test_learns_a_plain_task_to_equal_bits(self) -> None:
        """Bright against dark images are told apart, and two runs agree bit for bit."""
        channels, size = self.shapes[0]
        numbers = np.random.default_rng(0)
        bright_N = np.arange(64) % 2
        images_NCHW = numbers.integers(0, 100, (64, channels, size, size)) + 120 * bright_N.reshape(
            -1, 1, 1, 1
        )
        targets_NK = np.eye(2, dtype=np.float32)[bright_N]
        states = []
        for _ in range(2):
            rows = Rows([(images_NCHW.astype(np.uint8), np.arange(64))], targets_NK)
            model = self.build(channels, size, outputs=2)
            result = fit(
                model,
                rows,
                rows,
                TrainingConfig(epochs=15, batch_size=16),
                multi_label=False,
                classes=["bright", "dark"],
                metrics=["accuracy"],
                select_by="accuracy",
                seed=0,
                replicate=0,
            )
            assert result.status == "done", result.message
            assert result.validation is not None
            accuracy = result.validation["accuracy"]
            assert isinstance(accuracy, float)
            assert accuracy > 0.9, f"only {accuracy:.2f} of bright and dark images are told apart"
            states.append(model.state_dict())
        assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


class AugmentationContract:
    """The contract of an augmentation plug-in.

    Attributes:
        component: the augmentation.
        options: instance of its config; by default the config's defaults.
    """

    component: ClassVar[Component]
    options: ClassVar[Any] = None

    def make(self) -> Augmentation:
        """Make the transform as a trial does."""
        options = self.component.config() if self.options is None else self.options
        augmentation = self.component.load()(options)
        assert isinstance(augmentation, Augmentation)
        return augmentation

    def inputs(self, channels: int, size: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return images and random numbers for them, both made from a fixed seed."""
        generator = torch.Generator().manual_seed(0)
        x_BCHW = torch.randint(
            256, (12, channels, size, size), generator=generator, dtype=torch.uint8
        )
        return x_BCHW, torch.rand(12, self.make().draws, generator=generator)

    def test_keeps_shape_and_type_and_leaves_its_input(self) -> None:
        """Grey and colour images of two sizes come back alike; the originals are not written to."""
        for channels, size in ((1, 8), (3, 32)):
            x_BCHW, u_BD = self.inputs(channels, size)
            before = x_BCHW.clone()
            y_BCHW = self.make().apply(x_BCHW, u_BD)
            assert y_BCHW.shape == x_BCHW.shape
            assert y_BCHW.dtype == torch.uint8
            assert torch.equal(x_BCHW, before), "the images given to apply were changed in place"

    def test_an_image_depends_on_its_own_numbers_alone(self) -> None:
        """Batching does not matter, nor torch's global random state."""
        x_BCHW, u_BD = self.inputs(1, 8)
        augmentation = self.make()
        together = augmentation.apply(x_BCHW, u_BD)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            alone = [
                augmentation.apply(x[None], u[None]) for x, u in zip(x_BCHW, u_BD, strict=True)
            ]
        assert torch.equal(together, torch.cat(alone))

    def test_bears_the_ends_of_the_unit_interval(self) -> None:
        """Uniform numbers lie in [0, 1)."""
        x_BCHW, u_BD = self.inputs(1, 8)
        for end in (0.0, 1 - 2**-24):
            assert self.make().apply(x_BCHW, torch.full_like(u_BD, end)).shape == x_BCHW.shape
