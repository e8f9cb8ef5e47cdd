"""What is annealed over training, against the published formula, and through the training loop."""

import numpy as np
import pytest
import torch

import metaft
from metaft.learners.annealing import Annealing
from metaft.learners.learner import set_progress
from metaft.outer.exact import Exact
from metaft.outer.finite_difference import FiniteDifference
from metaft.outer.first_order import FirstOrder


def published(epoch, steps, epochs):
    """The weights as the authors' code has them, in its own arithmetic."""
    weights = np.ones(steps) / steps
    decay = 1.0 / steps / epochs
    weights[:-1] = np.maximum(weights[:-1] - epoch * decay, 0.03 / steps)
    weights[-1] = min(weights[-1] + epoch * (steps - 1) * decay, 1.0 - (steps - 1) * 0.03 / steps)
    return weights


@pytest.mark.parametrize("steps", [2, 5])
def test_the_weights_are_the_published_ones_epoch_by_epoch(steps):
    annealing = Annealing(epochs=100, multi_step=10)
    for epoch in range(10):
        start, *weights = annealing.step_weights(steps, epoch / 100)
        assert start == 0
        np.testing.assert_allclose(weights, published(epoch, steps, 10), rtol=1e-12)
        assert annealing.step_weights(steps, (epoch + 0.99) / 100) == (start, *weights), "by epoch, not by iteration"
        assert sum(weights) == pytest.approx(1)
    assert annealing.step_weights(steps, 0.10) is None
    assert annealing.step_weights(steps, 1.0) is None


def test_an_epoch_begins_where_it_should_whatever_rounding_does():
    annealing = Annealing(epochs=100)
    assert [annealing.epoch(n / 500) for n in range(501)] == [min(n // 5, 99) for n in range(501)]


def test_one_step_has_one_loss():
    assert Annealing().step_weights(1, 0.0) is None
    assert Annealing(multi_step=0).step_weights(5, 0.0) is None


def test_first_order_becomes_the_learners_own():
    annealing = Annealing(epochs=100, first_order=50)
    own = FiniteDifference()
    found = [annealing.estimator(own, done) for done in (0, 0.499, 0.5, 1)]
    assert found == [FirstOrder(), FirstOrder(), own, own]
    assert Annealing(first_order=0).estimator(Exact(), 0.0) == Exact()


@pytest.mark.parametrize("wrong", [{"epochs": 0}, {"multi_step": -1}, {"first_order": 1.5}])
def test_numbers_that_make_no_sense_are_named(wrong):
    with pytest.raises(metaft.MetaftError, match=next(iter(wrong))):
        Annealing(**wrong)


def test_a_run_whose_exact_gradients_would_never_come_is_refused():
    with pytest.raises(metaft.MetaftError, match="first_order_epochs 50 are more than the run's 20 epochs"):
        learner(epochs=20)
    with pytest.raises(metaft.MetaftError, match="multi_step_epochs 10 are more than the run's 5 epochs"):
        learner(epochs=5, first_order_epochs=0)
    assert Annealing(epochs=4, multi_step=4, first_order=4).estimator(Exact(), 1.0) == FirstOrder()


def test_a_learner_need_not_listen():
    set_progress(object(), 0.5)


def settings(**more):
    return {"iterations": 8, "tasks": 2, "progress": False, "validate_every": 4, "validate_tasks": 4,
            "checkpoint_every": 3, "log_every": 4} | more  # fmt: skip


def learner(**options):
    return metaft.learners.build("maml++", metaft.models.build("mlp", outputs=1, input_shape=(1,), seed=0, hidden=(8,)),
                                 kind="regression", steps=2, inner_lr=0.01, **options)  # fmt: skip


def test_the_loop_tells_before_every_update_and_validation(tmp_path, monkeypatch):
    told, mine = [], learner()
    monkeypatch.setattr(mine, "set_progress", told.append)
    family = metaft.families.sinusoid(seed=0)
    metaft.meta_train(mine, family, out=tmp_path / "run", validation=family, **settings())
    eighths = [n / 8 for n in range(8)]
    assert told == [*eighths[:4], 0.5, *eighths[4:], 1.0]


def test_a_resumed_run_is_annealed_as_one_that_never_stopped(tmp_path):
    family, annealed = metaft.families.sinusoid(seed=0), {"epochs": 4, "multi_step_epochs": 3, "first_order_epochs": 2}
    whole, parts = learner(**annealed), learner(**annealed)
    plain = learner(epochs=1, multi_step_epochs=0, first_order_epochs=0)
    metaft.meta_train(whole, family, out=tmp_path / "whole", **settings())

    calls, gradient = [], parts.meta_gradient

    def interrupted(batch):
        calls.append(parts.done)
        if len(calls) == 6:
            raise metaft.MetaftError("the power is cut")
        return gradient(batch)

    parts.meta_gradient = interrupted
    with pytest.raises(metaft.MetaftError, match="power"):
        metaft.meta_train(parts, family, out=tmp_path / "parts", **settings())
    again = learner(**annealed)
    metaft.meta_train(again, family, out=tmp_path / "parts", resume=True, **settings())
    assert all(torch.equal(again.params[n], p) for n, p in whole.params.items())
    metaft.meta_train(plain, family, out=tmp_path / "plain", **settings())
    assert not all(torch.equal(plain.params[n], p) for n, p in whole.params.items())
