"""The bias of a class left out: answered exactly as often as it occurs, by validation examples alone."""

import copy

import pytest
import torch
from torch import nn

from metaft.distillation.bias import bias_correction, with_bias
from metaft.errors import MetaftError
from metaft.models import MLP
from metaft.models.heads import with_cosine_head


def drawn(examples=200, classes=5):
    draw = torch.Generator().manual_seed(0)
    scores = torch.randn(examples, classes, generator=draw)
    scores[:, 3] -= 4  # never answered
    return scores, torch.randint(0, classes, (examples,), generator=draw)


def test_the_class_is_answered_as_often_as_it_occurs():
    scores, labels = drawn()
    assert int((scores.argmax(1) == 3).sum()) == 0
    correction = bias_correction(scores, labels, 3)
    assert correction > 0
    corrected = scores.clone()
    corrected[:, 3] += correction
    assert int((corrected.argmax(1) == 3).sum()) == int((labels == 3).sum())
    assert bias_correction(corrected, labels, 3) == pytest.approx(0, abs=1e-5)


def test_a_class_answered_too_often_is_lowered():
    scores, labels = drawn()
    scores[:, 3] += 10
    assert bias_correction(scores, labels, 3) < 0


def test_where_all_examples_are_of_the_class():
    scores, _ = drawn(6)
    correction = bias_correction(scores, torch.full((6,), 3), 3)
    scores[:, 3] += correction
    assert bool((scores.argmax(1) == 3).all())


def test_a_copy_of_the_network_adds_it():
    torch.manual_seed(0)
    model = MLP(4, 5, (6,), std=0.5)
    before = copy.deepcopy(model.state_dict())
    x = torch.rand(9, 4)
    expected = model(x) + 2.5 * torch.eye(5)[3]
    torch.testing.assert_close(with_bias(model, 3, 2.5)(x), expected)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_what_cannot_be_corrected_is_refused():
    scores, labels = drawn()
    with pytest.raises(MetaftError, match="class 5 is none of 5"):
        bias_correction(scores, labels, 5)
    with pytest.raises(MetaftError, match="no validation example is of class 3"):
        bias_correction(scores, labels.where(labels != 3, 0), 3)
    with pytest.raises(MetaftError, match="has no bias to correct"):
        with_bias(with_cosine_head(nn.Sequential(nn.Linear(4, 5)), 0), 3, 1.0)
