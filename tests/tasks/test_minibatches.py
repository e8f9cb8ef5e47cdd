"""Minibatches: each image once an epoch, right labels, pure in their index, moved by whole pixels."""

import pytest
import torch

from metaft.data.images import LabelledImages
from metaft.errors import MetaftError
from metaft.tasks.minibatches import Minibatches

COUNTS = torch.tensor([3, 1, 4])


def images(size=5):
    """Image i of class c holds the values i + 1, so that it can be told."""
    values = torch.arange(1, 9, dtype=torch.uint8)[:, None, None, None].expand(8, 2, size, size).contiguous()
    return LabelledImages(values, COUNTS, ("a", "b", "c"))


def told(batch):
    return (batch.query_x.amax((1, 2, 3, 4)) * 255).round().long() - 1


def test_an_epoch_shows_every_image_once_with_its_label():
    family = Minibatches(images(), seed=3)
    seen = torch.cat([told(family.batch(i, 2)) for i in range(4)])
    assert sorted(seen.tolist()) == list(range(8))
    label = torch.repeat_interleave(torch.arange(3), COUNTS)
    for i in range(8):
        batch = family.batch(i, 2)
        assert torch.equal(batch.query_y[:, 0], label[told(batch)])
    assert not torch.equal(seen, torch.cat([told(family.batch(i, 2)) for i in range(4, 8)]))


def test_a_minibatch_knows_which_images_it_holds():
    batch = Minibatches(images(), shift=1, seed=3).batch(1, 4)
    assert torch.equal(batch.rows, told(batch))
    part = batch[1:3]
    assert torch.equal(part.rows, told(part))
    assert torch.equal(batch.to("cpu").rows, batch.rows)


def test_shapes_and_purity():
    family = Minibatches(images(), shift=2, seed=1)
    batch = family.batch(5, 3)
    assert [tuple(t.shape) for t in batch.tensors()] == [(3, 0, 2, 5, 5), (3, 0), (3, 1, 2, 5, 5), (3, 1)]
    family.batch(0, 3)
    again = Minibatches(images(), shift=2, seed=1).batch(5, 3)
    assert all(torch.equal(a, b) for a, b in zip(batch.tensors(), again.tensors(), strict=True))
    assert not torch.equal(batch.query_x, Minibatches(images(), shift=2, seed=2).batch(5, 3).query_x)


def test_shifting_moves_each_image_by_whole_pixels():
    marked = torch.zeros(64, 1, 7, 7, dtype=torch.uint8)
    marked[:, 0, 3, 3] = 255
    family = Minibatches(LabelledImages(marked, torch.tensor([64]), ("a",)), shift=2)
    x = family.batch(0, 64).query_x[:, 0, 0]
    places = x.nonzero()[:, 1:]
    assert len(places) == 64  # the pixel is in every image, in one place
    assert set(places.flatten().tolist()) == {1, 2, 3, 4, 5}
    assert len({tuple(p) for p in places.tolist()}) > 15  # both axes move, each image by its own offset


def test_what_comes_in_is_background():
    family = Minibatches(images(), shift=4)
    x = family.batch(0, 8).query_x
    assert bool((x == 0).any())
    assert torch.equal(x[:, :, 0], x[:, :, 1])  # channels move together


@pytest.mark.parametrize("shift", [-1, 5])
def test_a_shift_beyond_the_image_is_refused(shift):
    with pytest.raises(MetaftError, match=f"shift = {shift}: images of 5×5"):
        Minibatches(images(), shift=shift)


def test_a_minibatch_larger_than_the_data_is_refused():
    with pytest.raises(MetaftError, match="9 examples asked of images \\(train\\), which has 8"):
        Minibatches(images()).batch(0, 9)
