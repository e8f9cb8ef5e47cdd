"""The bias of a class left out: answered exactly as often as it occurs, by validation examples alone."""

import pytest
import torch

from metaft.distillation.bias import bias_correction
from metaft.errors import MetaftError


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


def test_what_cannot_be_corrected_is_refused():
    scores, labels = drawn()
    with pytest.raises(MetaftError, match="class 5 is none of 5"):
        bias_correction(scores, labels, 5)
    with pytest.raises(MetaftError, match="no validation example is of class 3"):
        bias_correction(scores, labels.where(labels != 3, 0), 3)
