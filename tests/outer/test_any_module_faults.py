"""Wrong numbers that were met with ordinary modules, each with its right value."""

from __future__ import annotations

import copy
import gc
import pickle
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

import metaft
from metaft.errors import MetaftError
from metaft.learners import MAML
from metaft.tasks.batch import TaskBatch

DOUBLE = torch.float64


def tasks(*shape: int, count: int = 4, examples: int = 10) -> TaskBatch:
    draw = torch.Generator().manual_seed(0)
    make = lambda *size: torch.randn(count, examples, *size, dtype=DOUBLE, generator=draw)
    return TaskBatch(make(*shape), make(1), make(*shape), make(1)).with_keys(0)


def module(make: Callable[[], nn.Module]) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return make().double()


def squared(network: nn.Module) -> Callable[[dict[str, Tensor], Tensor, Tensor], Tensor]:
    return lambda params, x, y: F.mse_loss(functional_call(network, params, (x,)), y)


def params_of(network: nn.Module) -> dict[str, Tensor]:
    return {name: p.detach() for name, p in network.named_parameters()}


def difference(a: dict[str, Tensor], b: dict[str, Tensor]) -> float:
    size = torch.stack([b[n].square().sum() for n in b]).sum().sqrt()
    return float(torch.stack([(a[n] - b[n]).square().sum() for n in b]).sum().sqrt() / size)


def regression(network: nn.Module, **options: object) -> MAML:
    return MAML(network, metaft.SGD(lr=0.05), 2, kind="regression", **options)  # type: ignore[arg-type]


def normed() -> nn.Module:
    return nn.Sequential(
        nn.Linear(1, 16), nn.LayerNorm(16), nn.ReLU(), nn.Linear(16, 16), nn.LayerNorm(16), nn.ReLU(), nn.Linear(16, 1)
    )  # fmt: skip


def test_layer_norm_the_derivative_of_four_tasks_together_is_that_of_finite_differences() -> None:
    network, batch = module(normed), tasks(1)
    loss, params = squared(network), params_of(module(normed))
    of = lambda p: metaft.meta_gradient(loss, p, batch, rule=metaft.SGD(lr=0.1), steps=5)
    alone = metaft.meta_gradient(loss, params, batch, rule=metaft.SGD(lr=0.1), steps=5, chunk=1)
    together = of(params)
    assert difference(together.grads, alone.grads) < 1e-12
    draw = torch.Generator().manual_seed(1)
    way = {n: torch.randn(p.shape, dtype=DOUBLE, generator=draw) for n, p in params.items()}
    step = 1e-6
    moved = [of({n: p + sign * step * way[n] for n, p in params.items()}).loss for sign in (1, -1)]
    slope = sum((together.grads[n] * way[n]).sum() for n in params)
    assert float(slope) == pytest.approx(float((moved[0] - moved[1]) / (2 * step)), rel=1e-6)


def test_batch_norm_of_the_callers_own_functional_call_is_right_together() -> None:
    network = module(
        lambda: nn.Sequential(nn.Linear(2, 8), nn.BatchNorm1d(8, track_running_stats=False), nn.Tanh(), nn.Linear(8, 1))
    )
    both = [
        metaft.meta_gradient(
            squared(network), params_of(network), tasks(2), rule=metaft.SGD(lr=0.1), steps=3, chunk=chunk
        ).grads
        for chunk in (None, 1)
    ]
    assert difference(*both) < 1e-12


@pytest.mark.parametrize("memory", ["flat", "checkpoints", "graph"])
def test_what_is_computed_again_draws_the_same_dropout(memory: str) -> None:
    one = torch.ones(20_000, 1, 1, dtype=DOUBLE)
    batch = TaskBatch(one, 0 * one, one, 0 * one).with_keys(7)
    loss = lambda p, x, y: (F.dropout(x, 0.5) * p["w"] - y).square().mean()
    out = metaft.meta_gradient(
        loss, {"w": torch.ones((), dtype=DOUBLE)}, batch, rule=metaft.SGD(lr=0.05), steps=3, memory=memory
    )
    # E over masks: a step keeps w or takes it times 1 − 0.05 · 2 · 4 = 0.6, and the query's loss is 4 w² or 0.
    assert float(out.grads["w"]) == pytest.approx(4 * ((0.36 + 1) / 2) ** 3, rel=0.05)


def test_dropout_is_off_wherever_an_answer_is_given_and_on_in_training() -> None:
    network = module(lambda: nn.Sequential(nn.Linear(2, 8), nn.Dropout(0.5), nn.Linear(8, 1)))
    without = copy.deepcopy(network)
    without[1] = nn.Identity()
    learner, plain, batch = regression(network), regression(without), tasks(2)
    assert torch.equal(learner.curve(batch), learner.curve(batch))
    assert torch.equal(learner.curve(batch), plain.curve(batch))
    predict = learner.adapt(batch.support_x, batch.support_y)
    assert torch.equal(predict(batch.query_x), plain.curve(batch)[-1])
    assert not torch.equal(learner.meta_gradient(batch).loss, plain.meta_gradient(batch).loss)


def test_random_numbers_belong_to_a_task_whatever_workers_chunks_and_company() -> None:
    network = module(lambda: nn.Sequential(nn.Linear(2, 8), nn.Dropout(0.5), nn.Linear(8, 1)))
    batch = tasks(2, count=6)
    one = regression(network).meta_gradient(batch)
    assert torch.equal(regression(network, workers=3).meta_gradient(batch).grads["0.weight"], one.grads["0.weight"])
    half = regression(network).meta_gradient(batch[3:])
    assert torch.allclose(half.losses, one.losses[3:], rtol=1e-12)
    other = regression(network).meta_gradient(batch.with_keys(1))
    assert not torch.allclose(other.losses, one.losses, rtol=1e-3)


def test_without_keys_masks_follow_torchs_generator_and_change_from_call_to_call() -> None:
    network = module(lambda: nn.Sequential(nn.Linear(2, 8), nn.Dropout(0.5), nn.Linear(8, 1)))
    batch, learner = TaskBatch(*tasks(2).tensors()), regression(network)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        first, second = learner.meta_gradient(batch).loss, learner.meta_gradient(batch).loss
        torch.manual_seed(3)
        again = learner.meta_gradient(batch).loss
    assert torch.equal(first, again)
    assert not torch.equal(first, second)


def test_what_requires_no_gradient_neither_adapts_nor_is_trained() -> None:
    network = module(lambda: nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 1)))
    network[0].requires_grad_(False)
    learner = regression(network)
    assert set(learner.adapts) == set(learner.trains) == {"2.weight", "2.bias"}
    assert set(learner.meta_gradient(tasks(2)).grads) == {"2.weight", "2.bias"}
    assert [row[2:] for row in learner.scope_rows()][:2] == [["–", "frozen"]] * 2
    plain = metaft.meta_gradient(
        squared(network), dict(network.named_parameters()), tasks(2), rule=metaft.SGD(lr=0.05), steps=2
    )
    assert set(plain.grads) == {"2.weight", "2.bias"}
    with pytest.raises(MetaftError, match="frozen parameters alone"):
        regression(network, scope="0.*")


class Counting(nn.Module):
    """Counts its calls in a buffer, and answers by the count."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 1)
        self.register_buffer("calls", torch.zeros(()))
        self.register_buffer("seen", torch.ones(2))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.seen.mul_(0.5).add_(1)
        return self.linear(x + self.seen) * self.calls


def test_a_buffer_that_changes_is_the_calls_own() -> None:
    network, batch = module(Counting), tasks(2)
    learner = regression(network)
    assert torch.equal(learner.curve(batch), learner.curve(batch))
    own = learner.meta_gradient(batch).grads
    plain = metaft.meta_gradient(squared(network), params_of(network), batch, rule=metaft.SGD(lr=0.05), steps=2).grads
    assert difference(own, plain) < 1e-12
    assert float(network.calls) == 0
    assert torch.equal(network.seen, torch.ones(2, dtype=DOUBLE))
    copy.deepcopy(network)  # nothing of a transform is left in it


class Branching(nn.Module):
    """Goes another way where the data say so."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x) if x.sum() > 0 else 2 * self.linear(x)


def test_what_cannot_be_batched_is_computed_task_by_task_and_said_once(caplog: pytest.LogCaptureFixture) -> None:
    network, batch = module(Branching), tasks(2)
    loss, params = squared(network), params_of(network)
    for _ in range(2):
        together = metaft.meta_gradient(loss, params, batch, rule=metaft.SGD(lr=0.05), steps=2)
    alone = metaft.meta_gradient(loss, params, batch, rule=metaft.SGD(lr=0.05), steps=2, chunk=1)
    assert difference(together.grads, alone.grads) < 1e-15
    assert sum("one by one" in record.message for record in caplog.records) == 1
    learner = regression(network)
    learner.curve(batch), learner.adapt(batch.support_x, batch.support_y)(batch.query_x)


def test_an_lstm_meta_trains_batched(caplog: pytest.LogCaptureFixture) -> None:
    class Last(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm, self.head = nn.LSTM(1, 5, batch_first=True), nn.Linear(5, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.lstm(x)[0][:, -1])

    network, batch = module(Last), tasks(6, 1)
    loss, params = squared(network), params_of(network)
    both = [
        metaft.meta_gradient(loss, params, batch, rule=metaft.SGD(lr=0.05), steps=2, chunk=chunk).grads
        for chunk in (None, 1)
    ]
    assert difference(*both) < 1e-12
    assert not caplog.records
    assert any("bias" in name for name in regression(network, scope="biases").adapts)


def test_a_transformers_layer_needs_no_hint_for_its_second_derivative() -> None:
    class Pooled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.head = nn.TransformerEncoderLayer(8, 4, 16, 0.0, batch_first=True), nn.Linear(8, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.layer(x).mean(1))

    batch, network = tasks(5, 8), module(Pooled)
    learner = regression(network)
    assert (
        difference(learner.meta_gradient(batch).grads, regression(network, memory="graph").meta_gradient(batch).grads)
        < 1e-12
    )
    assert learner.curve(batch).isfinite().all()


def test_a_learner_that_is_dropped_is_freed_at_once() -> None:
    batch = tasks(2)
    gc.disable()
    try:
        learner = regression(module(lambda: nn.Linear(2, 1)))
        learner.meta_gradient(batch), learner.curve(batch), learner.adapt(batch.support_x, batch.support_y)
        alive = weakref.ref(learner)
        del learner
        assert alive() is None
    finally:
        gc.enable()


def test_a_trained_learner_can_be_copied_and_pickled() -> None:
    batch = tasks(2)
    learner = regression(module(lambda: nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))))
    learner.meta_gradient(batch), learner.curve(batch)
    for other in (copy.deepcopy(learner), pickle.loads(pickle.dumps(learner))):
        assert torch.equal(other.curve(batch), learner.curve(batch))
        assert torch.equal(other.meta_gradient(batch).loss, learner.meta_gradient(batch).loss)


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (
            lambda p, x, y: F.ctc_loss(
                (x * p["w"]).log_softmax(-1).transpose(0, 1), y, torch.full((5,), 4), torch.full((5,), 2)
            ),
            "first-order",
        ),
        (lambda p, x, y: torch.utils.checkpoint.checkpoint(torch.sin, x * p["w"], use_reentrant=False).sum(), "itself"),
        (lambda p, x, y: F.embedding(y, p["w"].expand(3, 3), max_norm=1.0).sum(), "max_norm"),
        (lambda p, x, y: F.embedding(y, p["w"].expand(3, 3), scale_grad_by_freq=True).sum(), "scale_grad_by_freq"),
        (lambda p, x, y: torch.poisson(x.abs() * p["w"].detach()).sum() * p["w"].sum(), "generator"),
    ],
)
def test_what_cannot_be_differentiated_is_refused_with_a_way_out(loss: Callable[..., Tensor], message: str) -> None:
    x, y = torch.randn(2, 5, 4, 3), torch.ones(2, 5, 2, dtype=torch.int64)
    with pytest.raises(MetaftError, match=message):
        metaft.meta_gradient(loss, {"w": torch.ones(3)}, TaskBatch(x, y, x, y), rule=metaft.SGD(lr=0.1), steps=1)


@pytest.mark.parametrize("options", [{"diagnose": True}, {"estimator": "implicit", "objective": metaft.L2ToStart(2.0)}])
def test_a_parameter_may_be_a_single_number(options: dict[str, Any]) -> None:
    """With a leading axis of tasks it has one axis and no more."""
    batch = metaft.families.sinusoid().batch(0, 3)
    loss = lambda p, x, y: (p["scale"] * x.sin() + p["shift"] - y).square().mean()
    params = {"scale": torch.tensor(1.0), "shift": torch.zeros(1)}
    how: dict[str, Any] = {"rule": metaft.SGD(0.1), "steps": 2, **options}
    together = metaft.meta_gradient(loss, params, batch, **how).grads
    alone = [metaft.meta_gradient(loss, params, batch[t : t + 1], **how).grads for t in range(3)]
    for name, value in together.items():
        torch.testing.assert_close(value, torch.stack([grads[name] for grads in alone]).mean(0))
