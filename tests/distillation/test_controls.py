"""Controls: what they keep, what they destroy, and that an example keeps its own permutation."""

import pytest
import torch

from metaft.distillation.controls import confidence_weights, permuted


def scores(examples=500, classes=7):
    return torch.randn(examples, classes, generator=torch.Generator().manual_seed(0))


def test_the_largest_stays_and_the_others_are_permuted():
    given = scores()
    found = permuted(given, torch.arange(500))
    assert torch.equal(found.argmax(1), given.argmax(1))
    assert torch.equal(found.amax(1), given.amax(1))
    assert torch.equal(found.sort(1).values, given.sort(1).values)
    # probabilities are permuted alike, whatever the temperature
    torch.testing.assert_close((found / 4).softmax(1).sort(1).values, (given / 4).softmax(1).sort(1).values)


def test_every_other_class_is_equally_likely_to_get_each_score():
    classes, examples = 4, 30_000
    given = torch.tensor([[9.0, 3.0, 2.0, 1.0]]).expand(examples, classes)
    found = permuted(given, torch.arange(examples))
    for value in (1.0, 2.0, 3.0):
        share = (found == value).float().mean(0)
        torch.testing.assert_close(share, torch.tensor([0.0, 1 / 3, 1 / 3, 1 / 3]), atol=0.015, rtol=0)


def test_an_example_keeps_its_permutation_in_every_minibatch():
    given = scores()
    whole = permuted(given, torch.arange(500), seed=3)
    rows = torch.randperm(500, generator=torch.Generator().manual_seed(1))[:40]
    assert torch.equal(permuted(given[rows], rows, seed=3), whole[rows])
    assert not torch.equal(permuted(given, torch.arange(500), seed=4), whole)
    # its number decides, not its place
    assert not torch.equal(permuted(given[rows], rows + 1, seed=3), whole[rows])


def test_neighbouring_examples_and_seeds_are_permuted_unlike():
    same = torch.arange(10.0).flip(0).expand(2000, 10)
    found = permuted(same, torch.arange(2000))
    assert len({tuple(row) for row in found.tolist()}) > 1980  # of 9! = 362,880
    assert (found[1:] == permuted(same, torch.arange(2000), seed=1)[:-1]).all(1).float().mean() < 0.01


def test_confidence_weights_are_the_largest_probabilities_by_their_sum():
    given = scores(12)
    largest = [max(row) for row in given.softmax(1).tolist()]
    assert confidence_weights(given).tolist() == pytest.approx([value / sum(largest) for value in largest])
    assert float(confidence_weights(given).sum()) == pytest.approx(1)
