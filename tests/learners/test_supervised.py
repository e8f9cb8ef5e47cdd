"""Supervised training against a plain loop over an nn.Module in training mode."""

import copy

import pytest
import torch
import torch.nn.functional as F

from metaft.data.images import LabelledImages
from metaft.errors import MetaftError
from metaft.learners import ClassMeans
from metaft.learners.supervised import Supervised
from metaft.models import Conv4
from metaft.tasks.batch import TaskBatch
from metaft.tasks.minibatches import Minibatches


def conv4():
    torch.manual_seed(0)
    return Conv4(1, 16, 4, hidden=3)


def family():
    draw = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (20, 1, 16, 16), dtype=torch.uint8, generator=draw)
    return Minibatches(LabelledImages(images, torch.tensor([5, 5, 5, 5]), tuple("abcd")))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_equals_an_ordinary_training_step(smoothing):
    model = conv4()
    learner, plain = Supervised(model, label_smoothing=smoothing), copy.deepcopy(model).train()
    for i in range(3):
        batch = family().batch(i, 8)
        out = learner.meta_gradient(batch)
        plain.zero_grad()
        loss = F.cross_entropy(plain(batch.query_x[:, 0]), batch.query_y[:, 0], label_smoothing=smoothing)
        loss.backward()
        torch.testing.assert_close(out.loss, loss.detach())
        assert out.grads.keys() == dict(plain.named_parameters()).keys()
        for name, parameter in plain.named_parameters():
            torch.testing.assert_close(out.grads[name], parameter.grad, rtol=1e-4, atol=1e-6)
    for name, buffer in plain.named_buffers():
        if buffer.is_floating_point():
            torch.testing.assert_close(learner.params[name], buffer)
            assert not torch.equal(buffer, dict(model.named_buffers())[name])  # and the model given stays as it was


def test_evaluating_moves_no_statistics():
    learner = Supervised(conv4())
    learner.meta_gradient(family().batch(0, 8))
    before = {name: value.clone() for name, value in learner.params.items()}
    minibatch = family().batch(1, 8)
    assert learner.curve(minibatch).shape == (1, 8, 1, 4)
    torch.testing.assert_close(learner.curve(minibatch)[0, :, 0], learner.trained()(minibatch.query_x[:, 0]).detach())
    assert all(torch.equal(value, before[name]) for name, value in learner.params.items())


def test_few_shot_tasks_are_answered_by_class_means():
    learner = Supervised(conv4())
    learner.meta_gradient(family().batch(0, 8))
    x = torch.rand(2, 9, 1, 16, 16)
    tasks = TaskBatch(x[:, :3], torch.arange(3).repeat(2, 1), x[:, 3:], torch.arange(3).repeat(2, 2))
    expected = ClassMeans(learner.trained()).curve(tasks)
    assert torch.equal(learner.curve(tasks), expected)
    assert torch.equal(learner.adapt(tasks.support_x, tasks.support_y)(tasks.query_x), expected[0])
    assert not learner.transductive


def test_smoothing_out_of_range_is_refused():
    with pytest.raises(MetaftError, match="label_smoothing must lie in"):
        Supervised(conv4(), label_smoothing=1.0)
