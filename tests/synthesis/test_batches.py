from itertools import pairwise

import numpy as np
import pytest
import torch

from synthtrial.config import GanTrainingConfig
from synthtrial.synthesis.batches import Batches


def make(**settings):
    images_NCHW = np.arange(40, dtype=np.uint8)[:, None, None, None] * np.ones(
        (1, 1, 2, 2), np.uint8
    )
    targets_NK = np.eye(2, dtype=np.float32)[(np.arange(40) >= 36).astype(int)]
    config = GanTrainingConfig(**({"global_batch": 16} | settings))
    return Batches(
        3,
        images_NCHW,
        np.arange(40),
        targets_NK,
        config,
        seed=0,
        draw=0,
        device=torch.device("cpu"),
    )


def fields(batch):
    return [batch.real_BCHW, batch.y_BK, batch.z_BZ, batch.u_2BD.transpose(0, 1), batch.mix_B]


@pytest.mark.parametrize("cuts", [[4, 12], [1, 2, 3], []])
def test_a_part_is_a_slice_of_the_whole(cuts):
    batches = make()
    whole = fields(batches.draw(5, slice(0, 16)))
    edges = [0, *cuts, 16]
    parts = [fields(batches.draw(5, slice(a, b))) for a, b in pairwise(edges)]
    for number, expected in enumerate(whole):
        assert torch.equal(torch.cat([part[number] for part in parts]), expected)


def test_updates_differ_and_need_no_memory_of_each_other():
    one, other = make(), make()
    one.draw(0, slice(0, 16))
    for a, b in zip(
        fields(one.draw(3, slice(0, 16))), fields(other.draw(3, slice(0, 16))), strict=True
    ):
        assert torch.equal(a, b)
    assert not torch.equal(one.draw(4, slice(0, 16)).z_BZ, one.draw(3, slice(0, 16)).z_BZ)


def test_images_come_with_their_own_labels_in_minus_one_to_one():
    batch = make().draw(0, slice(0, 16))
    rows = ((batch.real_BCHW[:, 0, 0, 0] + 1) * 127.5).round().long()
    assert torch.equal(batch.y_BK.argmax(1), (rows >= 36).long())


def test_balanced_sampling_shows_classes_alike():
    count = {True: 0, False: 0}
    for balanced in count:
        batches = make(balanced_sampling=balanced)
        for update in range(60):
            count[balanced] += int(batches.draw(update, slice(0, 16)).y_BK[:, 1].sum())
    assert count[True] / 960 == pytest.approx(0.5, abs=0.05)
    assert count[False] / 960 == pytest.approx(0.1, abs=0.03)


def test_channels_last_changes_the_layout_and_no_value():
    plain, other = make().draw(1, slice(0, 16)), make(channels_last=True).draw(1, slice(0, 16))
    assert torch.equal(plain.real_BCHW, other.real_BCHW)
    assert other.real_BCHW.is_contiguous(memory_format=torch.channels_last)
