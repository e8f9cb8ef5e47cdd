"""The meta-gradient agrees with learn2learn's, as its users compute it: Conv4, batch norm, max-pool, ten steps."""

import pytest
import torch
import torch.nn.functional as F

import metaft
from metaft.models import Conv4

DOUBLE = torch.float64


def problem(pool):
    torch.manual_seed(0)
    module = Conv4(1, 16, 3, hidden=4, pool=pool).to(DOUBLE)
    images = lambda n: torch.rand(2, n, 1, 16, 16, dtype=DOUBLE)
    label = torch.arange(3)
    return module, metaft.TaskBatch(images(3), label.repeat(2, 1), images(6), label.repeat(2, 2))


def backward(algorithm, batch, steps):
    """The loop of learn2learn's examples; gradients are left in ``.grad``."""
    for sx, sy, qx, qy in zip(*batch.tensors(), strict=True):
        clone = algorithm.clone()
        for _ in range(steps):
            clone.adapt(F.cross_entropy(clone(sx), sy))
        (F.cross_entropy(clone(qx), qy) / batch.tasks).backward()


def agree(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-10)


@pytest.mark.parametrize("pool", ["stride", "max"])
@pytest.mark.parametrize("estimator", ["exact", "first-order"])
def test_ten_steps_of_maml(l2l, pool, estimator):
    module, batch = problem(pool)
    out = metaft.learners.MAML(module, metaft.SGD(0.1), 10, estimator).meta_gradient(batch)
    backward(l2l.algorithms.MAML(module, lr=0.1, first_order=estimator == "first-order"), batch, 10)
    for name, parameter in module.named_parameters():
        if not name.endswith("conv.bias"):  # its true gradient is 0 before a batch norm
            agree(out.grads[name], parameter.grad)


@pytest.mark.parametrize("pool", ["stride", "max"])
def test_ten_steps_of_meta_sgd_rates_included(l2l, pool):
    module, batch = problem(pool)
    learner = metaft.learners.MAML(module, metaft.MetaSGD(0.1), 10)
    meta_sgd = l2l.algorithms.MetaSGD(module, lr=0.1)
    out = learner.meta_gradient(batch)
    backward(meta_sgd, batch, 10)
    for (name, parameter), rate in zip(module.named_parameters(), meta_sgd.lrs, strict=True):
        if not name.endswith("conv.bias"):
            agree(out.grads[name], parameter.grad)
            agree(out.grads[f"rule:{name}"], rate.grad)
