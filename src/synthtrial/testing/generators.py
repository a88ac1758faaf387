"""The contract of a generator family, for the authors of plug-ins and for our own tests.

    import pytest
    from synthtrial.testing.generators import CHECKS, GeneratorCase
    from my_package import MY_GENERATOR

    @pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
    def test_my_generator_keeps_the_contract(check):
        check(GeneratorCase(MY_GENERATOR, size=32, channels=3))

Every check takes one :class:`GeneratorCase` and raises AssertionError, with the reason, where the
contract is broken.
"""

from __future__ import annotations

import copy
import dataclasses
import multiprocessing
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from synthtrial.config import GanTrainingConfig
from synthtrial.errors import InterruptedTrainingError
from synthtrial.identity import canonical_json, stream
from synthtrial.registry import Component
from synthtrial.store.checkpoints import Checkpoints
from synthtrial.synthesis.generators import Networks
from synthtrial.synthesis.networks import build_networks
from synthtrial.synthesis.ranks import Ranks
from synthtrial.synthesis.training import GanResult, Surroundings, train_gan

_RANK_SECONDS = 120.0


@dataclass(frozen=True)
class GeneratorCase:
    """A family and the images it is tried on.

    Attributes:
        component: the family.
        options: instance of its config dataclass; by default one of defaults.
        channels: of the images.
        size: height and width in pixels; choose a small one.
        classes: number of classes, at least 2.
        multi_label: whether label vectors may hold several positives.
    """

    component: Component
    options: Any = None
    channels: int = 1
    size: int = 8
    classes: int = 3
    multi_label: bool = False

    def build(self, draw: int = 0) -> Networks:
        """Build networks as a study does."""
        options = self.component.config() if self.options is None else self.options
        return build_networks(
            self.component,
            options,
            channels=self.channels,
            size=self.size,
            classes=self.classes,
            multi_label=self.multi_label,
            seed=0,
            draw=draw,
        )

    def train(
        self,
        networks: Networks | None = None,
        *,
        steps: int = 3,
        around: Surroundings | None = None,
        **settings: Any,
    ) -> GanResult:
        """Train for a few steps on noise."""
        networks = networks or self.build()
        random = stream(0, "contract", "images")
        shape = (12, self.channels, self.size, self.size)
        images_NCHW = random.integers(0, 256, size=shape, dtype=np.uint8)
        targets_NK = np.eye(self.classes, dtype=np.float32)[np.arange(12) % self.classes]
        if self.multi_label:
            targets_NK = np.maximum(targets_NK, np.roll(targets_NK, 1, axis=1))
        batch = networks.group * -(-6 // networks.group)
        config = GanTrainingConfig(steps=steps, global_batch=batch, **settings)
        return train_gan(
            networks,
            images_NCHW,
            np.arange(12),
            targets_NK,
            config,
            seed=0,
            draw=0,
            around=around,
        )

    def inputs(self, networks: Networks, count: int) -> tuple[Tensor, Tensor]:
        """Return latents and label vectors."""
        random = stream(0, "contract", count)
        z_BZ = torch.from_numpy(random.standard_normal((count, networks.latent), dtype=np.float32))
        if self.multi_label:
            y_BK = random.integers(0, 2, size=(count, self.classes)).astype(np.float32)
        else:
            y_BK = np.eye(self.classes, dtype=np.float32)[np.arange(count) % self.classes]
        return z_BZ, torch.from_numpy(y_BK)


def config_is_frozen_with_defaults(case: GeneratorCase) -> None:
    """A config dataclass is frozen, has defaults for all fields and can enter an id."""
    config = case.component.config
    assert dataclasses.is_dataclass(config), f"{config} is no dataclass"
    assert config.__dataclass_params__.frozen, f"{config} must be frozen"  # type: ignore[attr-defined]
    canonical_json(dataclasses.asdict(config()))
    assert case.component.version >= 1, "versions count from 1"


def makes_images_of_the_asked_shape(case: GeneratorCase) -> None:
    """Images are float32 of shape (B, channels, size, size) and finite."""
    networks = case.build()
    x_BCHW = networks.generator(*case.inputs(networks, 5))
    expected = (5, case.channels, case.size, case.size)
    assert tuple(x_BCHW.shape) == expected, f"images are {tuple(x_BCHW.shape)}, not {expected}"
    assert x_BCHW.dtype == torch.float32, f"images are {x_BCHW.dtype}"
    assert bool(torch.isfinite(x_BCHW).all()), "images hold NaN or infinity"


def gives_one_score_an_image(case: GeneratorCase) -> None:
    """Scores are of shape (B,), or (B, 1 + classes) with a label loss, and finite."""
    networks = case.build()
    z_BZ, y_BK = case.inputs(networks, 5)
    scores = networks.discriminator(networks.generator(z_BZ, y_BK), y_BK)
    expected = (5,) if networks.label_loss is None else (5, 1 + case.classes)
    assert tuple(scores.shape) == expected, f"scores are {tuple(scores.shape)}, not {expected}"
    assert bool(torch.isfinite(scores).all()), "scores hold NaN or infinity"


def latents_and_labels_matter(case: GeneratorCase) -> None:
    """Another latent or label vector gives another image, another label another score.

    A family with a label loss learns labels through that, and its scores may ignore them.
    """
    networks = case.build()
    networks.generator.eval()
    networks.discriminator.eval()
    z_BZ, y_BK = case.inputs(networks, 6)
    other_BK = y_BK.roll(1, dims=1)
    changed = (y_BK != other_BK).any(dim=1)
    x_BCHW = networks.generator(z_BZ, y_BK)
    other_latents = networks.generator(z_BZ.flip(0), y_BK)
    other_labels = networks.generator(z_BZ, other_BK)
    assert not torch.allclose(x_BCHW, other_latents), "the latent changes nothing"
    assert not torch.allclose(x_BCHW[changed], other_labels[changed]), "the label changes no image"
    here, there = networks.discriminator(x_BCHW, y_BK), networks.discriminator(x_BCHW, other_BK)
    same = torch.allclose(here[changed], there[changed])
    assert networks.label_loss is not None or not same, "the label changes no score"


def an_image_does_not_depend_on_its_batch(case: GeneratorCase) -> None:
    """While training, images are the same alone and in a batch, and so are scores of a group."""
    networks = case.build()
    cut = networks.group * -(-3 // networks.group)
    z_BZ, y_BK = case.inputs(networks, 2 * cut)
    for mode in (True, False):
        generator = copy.deepcopy(networks.generator).train(mode)
        discriminator = copy.deepcopy(networks.discriminator).train(mode).requires_grad_(False)
        together = generator(z_BZ, y_BK).detach()
        halves = torch.cat([generator(z_BZ[:3], y_BK[:3]), generator(z_BZ[3:], y_BK[3:])]).detach()
        torch.testing.assert_close(halves, together, rtol=1e-4, atol=1e-5)
        first = copy.deepcopy(discriminator)(together, y_BK)[:cut]
        alone = copy.deepcopy(discriminator)(together[:cut], y_BK[:cut])
        torch.testing.assert_close(alone, first, rtol=1e-4, atol=1e-4)


def building_is_reproducible(case: GeneratorCase) -> None:
    """Weights follow from (seed, draw), whatever torch's global random state."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        one = case.build()
        torch.manual_seed(2)
        two, other = case.build(), case.build(draw=1)
    assert _equal(one.generator, two.generator), "equal seeds give different generators"
    assert _equal(one.discriminator, two.discriminator), "equal seeds give different discriminators"
    assert not _equal(one.generator, other.generator), "different draws give equal generators"


def all_weights_are_trained(case: GeneratorCase) -> None:
    """A few steps of the GAN loop are finite, reproducible and move every trainable weight."""
    trained = []
    for _ in range(2):
        networks = case.build()
        result = case.train(networks, steps=16 if networks.growing else 3)
        assert result.skipped == 0, "a loss of the first steps was not finite"
        trained.append((networks, result))
    start, (networks, result), again = case.build(), trained[0], trained[1][1]
    for name in ("generator", "discriminator"):
        before = dict(getattr(start, name).named_parameters())
        after = dict(getattr(networks, name).named_parameters())
        still = [key for key in after if torch.equal(before[key], after[key])]
        assert not still, f"weights of the {name} that training leaves as they were: {still}"
    different = _different(result, again)
    assert not different, f"two equal trainings end with different {different}"
    fresh = case.build(draw=1).generator
    fresh.load_state_dict(result.ema_state)


def an_interrupted_training_ends_with_the_same_bits(case: GeneratorCase) -> None:
    """Steps, an interruption, and the other steps in fresh networks are as all steps at once."""
    whole = case.train(steps=5)
    with tempfile.TemporaryDirectory() as folder:
        checkpoints = Checkpoints(Path(folder, "checkpoints"))
        calls = iter([False, True])
        stopping = Surroundings(checkpoints=checkpoints, interrupted=lambda: next(calls))
        try:
            case.train(steps=5, around=stopping)
        except InterruptedTrainingError:
            pass
        else:
            raise AssertionError("a training that was asked to stop went on")
        resumed = case.train(steps=5, around=Surroundings(checkpoints=checkpoints))
    assert resumed.resumed_at == 2
    different = _different(whole, resumed)
    assert not different, f"after an interruption these are different: {different}"
    assert resumed.history == whole.history


def two_processes_train_as_one(case: GeneratorCase) -> None:
    """Two processes that share each batch, and one that takes it in parts, agree with one."""
    steps = 3
    alone = case.train(steps=steps)
    parts = case.train(steps=steps, around=Surroundings(micro_batch=case.build().group))
    _assert_close(parts, alone)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    with tempfile.TemporaryDirectory() as folder:
        processes = [
            context.Process(target=_train_as_rank, args=(case, steps, rank, folder), daemon=True)
            for rank in range(2)
        ]
        for process in processes:
            process.start()
        try:
            for process in processes:
                process.join(_RANK_SECONDS)
                assert process.exitcode == 0, f"a rank ended with {process.exitcode}"
        finally:
            for process in processes:
                process.kill()
        results: list[GanResult] = [
            torch.load(Path(folder, f"{rank}.pt"), weights_only=False) for rank in range(2)
        ]
    assert not _different(*results), "the ranks end with different generators"
    assert results[0].images_seen == alone.images_seen
    _assert_close(results[0], alone)


def _train_as_rank(case: GeneratorCase, steps: int, rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/group", rank=rank, world_size=2
    )
    result = case.train(steps=steps, around=Surroundings(ranks=Ranks(rank, 2)))
    torch.save(result, Path(folder, f"{rank}.pt"))
    torch.distributed.destroy_process_group()


def _assert_close(one: GanResult, other: GanResult) -> None:
    # Sums in another order differ in their last bits. Where a gradient is next to nothing, Adam
    # makes a whole step of its sign, so some weights may go another way.
    for name, values in other.history.items():
        np.testing.assert_allclose(one.history[name], values, rtol=1e-3, atol=2e-3)
    ours, theirs = (torch.cat([v.flatten() for v in r.ema_state.values()]) for r in (one, other))
    close = torch.isclose(ours, theirs, rtol=1e-3, atol=1e-4).float().mean()
    assert float(close) > 0.9, f"only {float(close):.1%} of the weights agree"


def _different(one: GanResult, other: GanResult) -> list[str]:
    """Return the names of weights that are not equal to the bit."""
    return [key for key, value in one.ema_state.items() if not value.equal(other.ema_state[key])]


def _equal(one: nn.Module, two: nn.Module) -> bool:
    a, b = one.state_dict(), two.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


Check = Callable[[GeneratorCase], None]

#: Run each of these on every case that matters to the family.
CHECKS: tuple[Check, ...] = (
    config_is_frozen_with_defaults,
    makes_images_of_the_asked_shape,
    gives_one_score_an_image,
    latents_and_labels_matter,
    an_image_does_not_depend_on_its_batch,
    building_is_reproducible,
    all_weights_are_trained,
    an_interrupted_training_ends_with_the_same_bits,
    two_processes_train_as_one,
)
