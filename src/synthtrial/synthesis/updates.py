"""One update of the discriminator, and one of the generator, of a global batch.

A process takes its share of the batch, in parts where it is too large for its memory; gradients
are summed over parts and averaged over processes, so that only the order of floating-point sums
tells how the batch was cut.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from synthtrial.config import GanTrainingConfig
from synthtrial.synthesis.augment import diffaugment
from synthtrial.synthesis.batches import Batch, Batches
from synthtrial.synthesis.generators import Networks, Showing
from synthtrial.synthesis.losses import (
    ADVERSARIAL,
    LeCam,
    gradient_penalty,
    label_loss,
    split_scores,
)
from synthtrial.synthesis.ranks import Heartbeat, Ranks

#: A part of a batch with the images made for it, their graph kept for the generator's update.
Made = tuple[Batch, Tensor]


class Updates:
    """Both networks with their optimisers.

    Args:
        networks: to train, in place.
        batches: what they are trained on.
        config: settings of the loop.
        device: where.
        ranks: the processes that share every batch.
        micro_batch: images of this process at once; None for its whole share.
        heartbeat: is told how far this process is.
    """

    def __init__(
        self,
        networks: Networks,
        batches: Batches,
        config: GanTrainingConfig,
        *,
        device: torch.device,
        ranks: Ranks,
        micro_batch: int | None,
        heartbeat: Heartbeat | None,
    ) -> None:
        self._networks, self._batches, self._config = networks, batches, config
        self._device, self._ranks, self._heartbeat = device, ranks, heartbeat
        memory_format = torch.channels_last if config.channels_last else torch.preserve_format
        self.generator = networks.generator.to(device).to(memory_format=memory_format).train()
        self.discriminator = (
            networks.discriminator.to(device).to(memory_format=memory_format).train()
        )
        self._generator_adam = _adam(self.generator, config.generator_learning_rate, config)
        self._discriminator_adam = _adam(
            self.discriminator, config.discriminator_learning_rate, config
        )
        self._lecam = LeCam()
        self._shared_generator, self._shared_discriminator = self.generator, self.discriminator
        self._parts = _cut(ranks, config.global_batch, networks.group, micro_batch)
        # DDP averages over ranks; this makes the average that of the images, whatever the slices.
        self._scale = ranks.size / config.global_batch

    def state(self) -> dict[str, Any]:
        """Return all that an update depends on, as tensors and plain data."""
        state = {name: item.state_dict() for name, item in self._items().items()}
        lecam = self._lecam
        return {**state, "lecam": [lecam.real, lecam.fake, lecam.updates]}

    def load(self, state: Mapping[str, Any]) -> None:
        """Take the state that :meth:`state` returned; before :meth:`share`."""
        for name, item in self._items().items():
            item.load_state_dict(state[name])
        self._lecam = LeCam(*state["lecam"])

    def share(self) -> None:
        """Join the other processes, all beginning with the weights of the first."""
        if self._ranks.size > 1:
            self._shared_generator = self._wrap(self.generator)
            self._shared_discriminator = self._wrap(self.discriminator)

    def update_discriminator(
        self, number: int, strength: float, *, keep: bool
    ) -> tuple[bool, float, Made | None]:
        """Update the discriminator on a batch.

        Args:
            number: of the update, which addresses its batch.
            strength: how much of the label vectors is shown, up to 1.
            keep: keep the made images for the generator's update.

        Returns:
            Whether loss and gradients were finite (else nothing was changed), the loss, and what
            :meth:`update_generator` may reuse.
        """
        keep = keep and len(self._parts) == 1
        self._discriminator_adam.zero_grad()
        sums: list[Tensor] = []  # of the loss and, for LeCam, of real and fake scores
        made = None
        for place, part in enumerate(self._parts):
            self._beat(number, 0)
            batch = self._batches.draw(number, part)
            y_BK = batch.y_BK * strength
            with torch.set_grad_enabled(keep), self._autocast():
                make = self._shared_generator if keep else self.generator
                pair = torch.cat([self._show(batch.real_BCHW), make(batch.z_BZ, y_BK).float()])
                both = diffaugment(pair, batch.u_2BD.flatten(0, 1), self._config.diffaugment)
            if keep:
                made = (batch, both[len(y_BK) :])
            if len(self._parts) > 1:  # its power iterations go on once an update, not once a part
                self.discriminator.train(place == len(self._parts) - 1)
            with self._accumulating(self._shared_discriminator, place):
                loss, real_B, fake_B = self._discriminator_loss(
                    both.detach(), batch, y_BK, strength
                )
                self._beat(number, 1)
                loss.backward()  # type: ignore[no-untyped-call]
            scores = (real_B, fake_B) if self._config.lecam else ()
            sums = _add(sums, [loss.detach(), *(score_B.detach().sum() for score_B in scores)])
        healthy, (loss_sum, *score_sums) = self._agree(sums, self._discriminator_adam)
        if healthy:
            self._discriminator_adam.step()
            if score_sums:
                real, fake = (total / self._config.global_batch for total in score_sums)
                self._lecam.update(real, fake)
        return healthy, loss_sum / self._ranks.size, made

    def _discriminator_loss(
        self, both_BCHW: Tensor, batch: Batch, y_BK: Tensor, strength: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the loss, and the scores of real and made images."""
        config, adversarial = self._config, ADVERSARIAL[self._networks.loss]
        with self._autocast():
            scores = self._shared_discriminator(both_BCHW, torch.cat([y_BK, y_BK]))
        score_B, logits = split_scores(scores)
        real_B, fake_B = score_B.chunk(2)
        loss_B = adversarial.real(real_B) + adversarial.fake(fake_B)
        if self._networks.loss == "wgan_gp":
            real, fake = both_BCHW.chunk(2)
            penalty_B = gradient_penalty(self._shared_discriminator, real, fake, y_BK, batch.mix_B)
            loss_B = loss_B + config.gradient_penalty * penalty_B + config.drift * real_B.square()
        if config.lecam:
            loss_B = loss_B + config.lecam * self._lecam.penalty(real_B, fake_B)
        if logits is not None and strength > 0:
            kind = self._networks.label_loss or "sigmoid"
            of_real, of_fake = logits.chunk(2)
            labels_B = label_loss(of_real, batch.y_BK, kind)
            if self._networks.label_loss_on == "both":
                labels_B = labels_B + label_loss(of_fake, batch.y_BK, kind)
            loss_B = loss_B + strength * config.label_loss * labels_B
        return self._mean(loss_B, batch), real_B, fake_B

    def update_generator(
        self, number: int, strength: float, made: Made | None
    ) -> tuple[bool, float]:
        """Update the generator on the batch of the discriminator's update ``number``.

        Args:
            number: of that update.
            strength: how much of the label vectors is shown, up to 1.
            made: from :meth:`update_discriminator`; None makes the images again.

        Returns:
            Whether loss and gradients were finite (else nothing was changed), and the loss.
        """
        self._generator_adam.zero_grad()
        self._freeze(True)
        sums: list[Tensor] = []
        for place, part in enumerate(self._parts):
            with self._accumulating(self._shared_generator, place):
                if made is not None:
                    batch, fake = made
                else:
                    batch = self._batches.draw(number, part)
                    with self._autocast():
                        fake = self._shared_generator(batch.z_BZ, batch.y_BK * strength).float()
                        fake = diffaugment(fake, batch.u_2BD[1], self._config.diffaugment)
                loss = self._generator_loss(fake, batch, strength)
                self._beat(number, 2)
                loss.backward()  # type: ignore[no-untyped-call]
            sums = _add(sums, [loss.detach()])
        self._freeze(False)
        healthy, (loss_sum,) = self._agree(sums, self._generator_adam)
        if healthy:
            self._generator_adam.step()
        return healthy, loss_sum / self._ranks.size

    def _generator_loss(self, fake_BCHW: Tensor, batch: Batch, strength: float) -> Tensor:
        with self._autocast():
            scores = self.discriminator(fake_BCHW, batch.y_BK * strength)
        score_B, logits_BK = split_scores(scores)
        loss_B = ADVERSARIAL[self._networks.loss].generator(score_B)
        if logits_BK is not None and strength > 0:
            kind = self._networks.label_loss or "sigmoid"
            weight = strength * self._config.label_loss
            loss_B = loss_B + weight * label_loss(logits_BK, batch.y_BK, kind)
        return self._mean(loss_B, batch)

    def _mean(self, loss_B: Tensor, batch: Batch) -> Tensor:
        """Return this part's share of the mean over the global batch."""
        if batch.weight_B is not None:
            loss_B = loss_B * batch.weight_B
        return loss_B.sum() * self._scale

    def _agree(
        self, sums: Sequence[Tensor], adam: torch.optim.Optimizer
    ) -> tuple[bool, list[float]]:
        """Return whether all ranks' losses and gradients are finite, and the sums over all."""
        gradients = [weight.grad for weight in _weights(adam) if weight.grad is not None]
        # A ReLU's backward pass turns a NaN into 0, so finite gradients do not prove a finite loss.
        norm = torch.stack(torch._foreach_norm(gradients)).sum()
        *totals, norm_total = self._ranks.total(torch.stack([*sums, norm]))
        return math.isfinite(totals[0]) and math.isfinite(norm_total), totals

    def _freeze(self, frozen: bool) -> None:
        """Let the discriminator's weights receive no gradients while the generator's do."""
        for weight in _weights(self._discriminator_adam):
            weight.requires_grad_(not frozen)

    def _show(self, real_BCHW: Tensor) -> Tensor:
        if not self._networks.growing:
            return real_BCHW
        return cast(Showing, self.discriminator).show(real_BCHW)

    def _accumulating(self, module: nn.Module, part: int) -> AbstractContextManager[Any]:
        """Exchange gradients after the last part only."""
        if isinstance(module, DistributedDataParallel) and part < len(self._parts) - 1:
            return module.no_sync()
        return nullcontext()

    def _autocast(self) -> AbstractContextManager[Any]:
        if self._config.precision == "fp32":
            return nullcontext()
        return torch.autocast(self._device.type, dtype=torch.bfloat16)

    def _items(self) -> dict[str, nn.Module | torch.optim.Optimizer]:
        return {
            "generator": self.generator,
            "discriminator": self.discriminator,
            "generator_adam": self._generator_adam,
            "discriminator_adam": self._discriminator_adam,
        }

    def _wrap(self, module: nn.Module) -> nn.Module:
        return DistributedDataParallel(module, find_unused_parameters=self._networks.growing)

    def _beat(self, number: int, phase: int) -> None:
        if self._heartbeat is not None:
            self._heartbeat.at(number, phase)


def _cut(ranks: Ranks, batch: int, unit: int, limit: int | None) -> list[slice]:
    """Cut this process's share of a batch into parts that fit its memory."""
    mine = ranks.share(batch, unit)
    limit = limit or batch
    step = max(unit, limit - limit % unit)
    return [slice(i, min(i + step, mine.stop)) for i in range(mine.start, mine.stop, step)]


def _add(sums: Sequence[Tensor], more: Sequence[Tensor]) -> list[Tensor]:
    return [a + b for a, b in zip(sums, more, strict=True)] if sums else list(more)


def _weights(adam: torch.optim.Optimizer) -> list[Tensor]:
    (group,) = adam.param_groups
    weights: list[Tensor] = group["params"]
    return weights


def _adam(
    module: nn.Module, learning_rate: float, config: GanTrainingConfig
) -> torch.optim.Optimizer:
    betas = (config.beta1, config.beta2)
    return torch.optim.Adam(module.parameters(), lr=learning_rate, betas=betas, fused=True)
