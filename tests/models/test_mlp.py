"""Dropout of an MLP: in training alone, in its share, kept in expectation."""

import pytest
import torch

from metaft.errors import MetaftError
from metaft.learners.supervised import Supervised
from metaft.models import MLP, build
from metaft.tasks.batch import TaskBatch


def test_without_dropout_nothing_has_changed():
    assert list(MLP(3, 2, (4, 4)).state_dict()) == [f"{i}.{part}" for i in (0, 2, 4) for part in ("weight", "bias")]


def test_shares_are_dropped_in_training_and_none_in_evaluation():
    model = MLP(1000, 1, (800,), input_dropout=0.2, dropout=0.5)
    torch.manual_seed(0)
    dropped = [part for part in model if isinstance(part, torch.nn.Dropout)]
    ones = torch.ones(20, 1000)
    assert [float((part(ones) == 0).float().mean()) for part in dropped] == pytest.approx([0.2, 0.5], abs=0.02)
    assert isinstance(next(iter(model)), torch.nn.Dropout)
    assert not torch.equal(model(ones), model(ones))
    model.eval()
    assert torch.equal(model(ones), model(ones))


def test_it_is_trained_with_dropout_and_answers_without():
    learner = Supervised(build("mlp", outputs=4, input_shape=(1, 4, 4), seed=0, hidden=(30,), dropout=0.5))
    x, y = torch.rand(8, 1, 1, 4, 4), torch.zeros(8, 1, dtype=torch.int64)
    batch = TaskBatch(x[:, :0], y[:, :0], x, y)
    torch.manual_seed(0)
    first, again = learner.meta_gradient(batch), learner.meta_gradient(batch)
    assert not torch.equal(first.losses, again.losses)
    assert torch.equal(learner.curve(batch), learner.curve(batch))


@pytest.mark.parametrize("name", ["dropout", "input_dropout"])
def test_shares_out_of_range(name):
    with pytest.raises(MetaftError, match=rf"{name} must lie in \[0, 1\), not 1"):
        MLP(3, 2, **{name: 1.0})
