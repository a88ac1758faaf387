from itertools import islice

import numpy as np
import pytest
import torch

from synthtrial.classify import rows as module
from synthtrial.classify.augment import Augmentation
from synthtrial.classify.rows import Rows, evaluation_batches, training_batches
from synthtrial.errors import DataError

CPU = torch.device("cpu")
IMAGES = np.arange(20, dtype=np.uint8).reshape(20, 1, 1, 1).repeat(4, 2).repeat(4, 3)


def made(*indices, is_real=None):
    n = sum(len(index) for index in indices)
    return Rows([(IMAGES, np.array(index)) for index in indices], np.zeros((n, 2)), is_real)


def visited(rows, count, *, batch_size=4, augment=None, weights=None, replicate=0, first=0):
    batches = training_batches(
        rows,
        torch.arange(len(rows)),
        batch_size=batch_size,
        row_weights_N=weights,
        augment=augment,
        seed=5,
        replicate=replicate,
        device=CPU,
        first=first,
    )
    return list(islice(batches, count))


def brighten(x_BCHW, u_BD):
    return x_BCHW + (u_BD[:, 0] * 200).to(torch.uint8).view(-1, 1, 1, 1)


def test_images_come_from_every_part_in_order():
    rows = made([7, 3], [], [19, 0, 7])
    assert rows.images(np.arange(5), "cpu")[:, 0, 0, 0].tolist() == [7, 3, 19, 0, 7]
    assert rows.to("cpu").images(np.array([4, 0, 2]), "cpu")[:, 0, 0, 0].tolist() == [7, 7, 19]


def test_memory_mapped_images_are_read_without_copying_them_all(tmp_path):
    np.save(tmp_path / "images.npy", IMAGES)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    rows = Rows([(mapped, np.array([4, 2]))], np.zeros((2, 1)))
    assert rows.to("cpu").images(np.array([1]), "cpu")[0, 0, 0, 0] == 2


def test_pixels_reach_the_network_between_minus_one_and_one():
    images = np.array([0, 255], dtype=np.uint8).reshape(2, 1, 1, 1)
    (x,) = evaluation_batches(Rows([(images, np.arange(2))], np.zeros((2, 1))), CPU)
    assert x.flatten().tolist() == [-1.0, 1.0]


def test_a_pass_visits_every_row_once_and_passes_differ():
    rows = made(range(10))
    batches = visited(rows, 6)
    first, second = batches[:3], batches[3:]
    assert [len(index) for _, _, index in first] == [4, 4, 2]
    orders = [np.concatenate([index for _, _, index in part]).tolist() for part in (first, second)]
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(10))
    assert orders[0] != orders[1]


def test_labels_and_indices_belong_to_the_images():
    for x, y, index in visited(made(range(10)), 6):
        assert y.tolist() == index.tolist()
        assert torch.equal(
            x[:, 0, 0, 0], module.normalise(torch.from_numpy(IMAGES[index]))[:, 0, 0, 0]
        )


@pytest.mark.parametrize("place", ["resident", "normalised", "gathered", "small blocks"])
def test_batches_do_not_depend_on_where_pixels_are_kept(place, monkeypatch):
    augment = None if place == "normalised" else Augmentation(1, brighten)
    expected = visited(made(range(10)), 6, augment=augment)
    rows = made(range(10))
    if place in ("resident", "normalised"):
        rows = rows.to("cpu")
    if place == "normalised":
        rows = rows.normalised()
    if place == "small blocks":
        monkeypatch.setattr(module, "_BLOCK_BYTES", 1)
    got = visited(rows, 6, augment=augment)
    for (x, y, index), (x_expected, y_expected, index_expected) in zip(got, expected, strict=True):
        assert torch.equal(x, x_expected)
        assert torch.equal(y, y_expected)
        assert index.tolist() == index_expected.tolist()


def test_sets_that_are_too_large_are_not_kept_on_the_device(monkeypatch):
    rows = made(range(10))
    monkeypatch.setattr(module, "RESIDENT_BYTES", 10 * 16 - 1)
    assert rows.to("cpu") is rows
    monkeypatch.setattr(module, "RESIDENT_BYTES", 10 * 16)
    resident = rows.to("cpu")
    assert resident is not rows
    assert resident.normalised() is resident


def test_a_row_is_transformed_alike_whatever_the_batch_and_whatever_rows_follow():
    def pixels(rows, count, batch_size):
        batches = visited(rows, count, batch_size=batch_size, augment=Augmentation(1, brighten))
        return {i: v for x, _, index in batches for i, v in zip(index, x[:, 0, 0, 0], strict=True)}

    few, other = pixels(made(range(10)), 3, 4), pixels(made(range(10)), 1, 10)
    more = pixels(made(range(10), range(10)), 1, 20)
    assert few == other == {i: more[i] for i in range(10)}


def test_weighted_rows_are_drawn_with_replacement():
    weights = np.array([0.7, 0.3] + [0.0] * 8)
    batches = visited(made(range(10)), 30, weights=weights)
    index = np.concatenate([index for _, _, index in batches])
    assert set(index) == {0, 1}
    assert 0.5 < (index == 0).mean() < 0.9


def test_rows_that_do_not_fit_together_are_refused():
    with pytest.raises(DataError, match="no rows"):
        made([])
    with pytest.raises(DataError, match="different shapes"):
        Rows([(IMAGES, [0]), (IMAGES[:, :, :2], [0])], np.zeros((2, 1)))
    with pytest.raises(DataError, match="3 images came with 2 targets"):
        Rows([(IMAGES, np.arange(3))], np.zeros((2, 1)))


@pytest.mark.parametrize("block_bytes", [1, 600, 10**6])
@pytest.mark.parametrize("weights", [None, np.full(10, 0.1)])
def test_batches_can_begin_anywhere(monkeypatch, block_bytes, weights):
    monkeypatch.setattr(module, "_BLOCK_BYTES", block_bytes)
    asked = []

    def apply(x_BCHW, u_BD):
        asked.append(len(x_BCHW))
        return brighten(x_BCHW, u_BD)

    rows, augment = made(range(10)), Augmentation(1, apply)
    whole = visited(rows, 9, augment=augment, weights=weights)
    sizes = set(asked)
    for first in range(1, 8):
        asked.clear()
        rest = visited(rows, 9 - first, augment=augment, weights=weights, first=first)
        for (x, y, index), (x_, y_, index_) in zip(whole[first:], rest, strict=True):
            assert torch.equal(x, x_)
            assert torch.equal(y, y_)
            assert index.tolist() == index_.tolist()
        assert set(asked) <= sizes  # blocks begin where they always do
