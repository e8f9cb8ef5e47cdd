"""The meta-update compiled with the gradient, against torch's optimiser and the update in parts."""

from __future__ import annotations

import os
import signal
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from metaft.distributed.share import Share
from metaft.distributed.world import World
from metaft.errors import MetaftError
from metaft.inner.rules import LSLR, SGD, MetaSGD
from metaft.learners import build
from metaft.learners.learner import takes_update
from metaft.learners.maml import MAML
from metaft.outer import compiled
from metaft.outer.compiled import compiler_found
from metaft.outer.mean_gradient import MetaGradient
from metaft.tasks.batch import TaskBatch
from metaft.tasks.sinusoid import Sinusoids
from metaft.training import update
from metaft.training.loop import meta_train
from metaft.training.optimisers.adam import Adam, AdamUpdate
from metaft.training.state import TrainState
from metaft.training.stopping import StoppedRun, StopRequest
from tests.runs.fakes import Gradient, LinearMaml, Waves
from tests.runs.test_loop import SETTINGS, equal

needs_compiler = pytest.mark.skipif(not compiler_found(), reason="no C++ compiler")


def learner(engine: str = "compile", **more: Any) -> MAML:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(1, 6), nn.Tanh(), nn.Linear(6, 1))
    return MAML(model, SGD(0.01), 1, kind="regression", engine=engine, **more)


@lru_cache(maxsize=1)
def _compiled_once() -> tuple[MAML, dict[str, torch.Tensor]]:
    ours = learner()
    return ours, {n: p.clone() for n, p in ours.params.items()}


def compiled_learner() -> MAML:
    """The same learner at its start each time, as what is compiled belongs to it."""
    ours, start = _compiled_once()
    ours.params = {n: p.clone() for n, p in start.items()}
    return ours


def run(out: Path, family: Sinusoids | None = None, **more: Any) -> MAML:
    ours = compiled_learner()
    validation = Sinusoids(seed=1, split="val")
    meta_train(ours, family or Sinusoids(), out=out, validation=validation, **{**SETTINGS, **more})
    return ours


@pytest.mark.parametrize("clip", [None, 1.5])
def test_adam_is_torchs(clip: float | None) -> None:
    draw = torch.Generator().manual_seed(0)
    weights = {
        n: torch.randn(s, generator=draw, dtype=torch.float64) for n, s in {"a": (3, 2), "b": (), "c": (4,)}.items()
    }
    trained = [weights[n].clone().requires_grad_() for n in ("c", "a")]
    torchs = torch.optim.Adam(trained, lr=0.1)
    mean, square, average = torch.zeros(10).double(), torch.zeros(10).double(), {n: weights[n].clone() for n in "ac"}
    averaged = {n: weights[n].clone() for n in "ac"}
    adam = AdamUpdate(("c", "a"), clip)
    for i in range(1, 8):
        grads = {n: torch.randn(weights[n].shape, generator=draw, dtype=torch.float64) for n in "abc"}
        trained[0].grad, trained[1].grad = grads["c"].clone(), grads["a"].clone()
        norm = torch.nn.utils.clip_grad_norm_(trained, clip or torch.inf)
        for group in torchs.param_groups:
            group["lr"] = 0.1 / i
        torchs.step()
        for name, value in zip("ca", trained, strict=True):
            averaged[name].lerp_(value.detach(), 0.3)
        told = adam(
            weights,
            torch.tensor(2.0).double(),
            grads,
            (mean, square, Adam().corrected_rates(i, 0.1 / i, 0.3, mean), average),
        )
        torch.testing.assert_close(told, torch.stack((torch.tensor(2.0).double(), norm)))
    torch.testing.assert_close(weights["c"], trained[0].detach())
    torch.testing.assert_close(weights["a"], trained[1].detach())
    torch.testing.assert_close(average, averaged)


@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_adam_changes_nothing_where_something_is_not_finite(where: str) -> None:
    weights, average = {"a": torch.ones(2)}, {"a": torch.full((2,), 3.0)}
    mean, square = torch.full((2,), 0.1), torch.full((2,), 0.2)
    loss = torch.tensor(float("nan") if where == "loss" else 1.0)
    grads = {"a": torch.tensor([1.0, float("inf") if where == "gradient" else 1.0])}
    told = AdamUpdate(("a",), 1.0)(
        weights, loss, grads, (mean, square, Adam().corrected_rates(1, 0.1, 0.5, mean), average)
    )
    assert not bool(told.isfinite().all())
    assert weights["a"].tolist() == [1, 1]
    assert average["a"].tolist() == [3, 3]
    assert torch.equal(mean, torch.full((2,), 0.1))
    assert torch.equal(square, torch.full((2,), 0.2))


@needs_compiler
@pytest.mark.parametrize("estimator", ["exact", pytest.param("reptile", marks=pytest.mark.long)])
def test_compiled_updates_are_those_in_parts(estimator: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    how: dict[str, Any] = {"outer_lr": 0.01, "clip": 1.0, "average": 0.9, "schedule": "cosine", "progress": False}
    found = []
    for engine in ("eager", "compile"):
        ours = (
            compiled_learner() if (engine, estimator) == ("compile", "exact") else learner(engine, estimator=estimator)
        )
        if engine == "compile":
            monkeypatch.setattr(update, "_in_parts", None)
        meta_train(ours, Sinusoids(), 12, 4, out=tmp_path / engine, **how)
        found.append(ours.params)
    torch.testing.assert_close(found[1], found[0], rtol=1e-4, atol=1e-5)


@needs_compiler
@pytest.mark.parametrize("at", [pytest.param(3, marks=pytest.mark.long), 13])
def test_a_stopped_run_of_compiled_updates_resumes_to_the_same_end(tmp_path: Path, at: int) -> None:
    run(tmp_path / "whole")
    with pytest.raises(StoppedRun):
        run(tmp_path / "parts", Waves(at=at, act=lambda: os.kill(os.getpid(), signal.SIGINT)))
    run(tmp_path / "parts", resume=True)
    equal(tmp_path / "whole", tmp_path / "parts")


@needs_compiler
@pytest.mark.long
def test_one_learner_is_trained_with_and_without_an_average(tmp_path: Path) -> None:
    ours, ends = learner(), []
    how: dict[str, Any] = {"outer_lr": 0.01, "progress": False}
    start = {n: p.clone() for n, p in ours.params.items()}
    for i, average in enumerate((0.0, 0.5, 0.0)):
        ours.params = {n: p.clone() for n, p in start.items()}
        meta_train(ours, Sinusoids(), 4, 4, out=tmp_path / str(i), average=average, **how)
        ends.append(ours.params)
    assert all(torch.equal(ends[2][n], ends[0][n]) for n in start)
    assert not any(torch.equal(ends[1][n], ends[0][n]) for n in start)


@needs_compiler
@pytest.mark.long
@pytest.mark.parametrize(
    "parts",
    [
        {"rule": MetaSGD(0.01), "meta_scope": "head,rates", "dtype": torch.float64},
        {"meta_scope": "head"},
        {"rule": MetaSGD(0.01)},
        {"rule": LSLR(0.01, 2), "steps": 2},
        {"dtype": torch.float64},
    ],
    ids=["all at once", "part of the weights", "learned rates", "rates of each step", "float64"],
)
def test_compiled_updates_of_other_parts_are_those_uncompiled(parts: dict[str, Any], tmp_path: Path) -> None:
    found = []
    for engine in ("eager", "compile"):
        given = {"rule": SGD(0.01), "steps": 1, "meta_scope": "all,rates", "dtype": torch.float32} | parts
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(1, 6), nn.Tanh(), nn.Linear(6, 1)).to(given.pop("dtype"))
        ours = MAML(model, kind="regression", engine=engine, **given)
        assert takes_update(ours) == (engine == "compile")
        family = Sinusoids() if "dtype" not in parts else Wide()
        how: dict[str, Any] = {"outer_lr": 0.01, "average": 0.9, "clip": 1.0, "progress": False}
        meta_train(ours, family, 6, 4, out=tmp_path / engine, **how)
        found.append(ours.params)
    torch.testing.assert_close(found[1], found[0], rtol=1e-4, atol=1e-5)


class Wide(Sinusoids):
    """In double precision."""

    def batch(self, index: int, tasks: int) -> TaskBatch:
        return TaskBatch(*(t.double() for t in super().batch(index, tasks).tensors()))


class Broken(Sinusoids):
    """Sinusoids with one target that is not finite."""

    def batch(self, index: int, tasks: int) -> TaskBatch:
        drawn = super().batch(index, tasks)
        if index == 6:
            drawn.query_y[1, 2] = torch.inf
        return drawn


@needs_compiler
def test_a_loss_that_is_not_finite_leaves_the_weights_of_compiled_updates(tmp_path: Path) -> None:
    how: dict[str, Any] = {"outer_lr": 0.01, "average": 0.9, "clip": 1.0, "progress": False}
    ours = compiled_learner()
    meta_train(ours, Sinusoids(), 6, 4, out=tmp_path / "good", **how)
    good, ours = ours.params, compiled_learner()
    with pytest.raises(MetaftError, match=r"iteration 7: .*query loss is inf"):
        meta_train(ours, Broken(), 20, 4, out=tmp_path / "stopped", **how)
    assert all(torch.equal(good[n], ours.params[n]) for n in good)


def test_packed_moments_are_those_that_a_checkpoint_holds() -> None:
    state = TrainState.start({"a": torch.ones(2, 2), "b": torch.ones(3)}, 0.0, torch.device("cpu"))
    state.step({"a": torch.full((2, 2), 2.0), "b": torch.ones(3)}, 0.1)
    packed = state.pack_moments(("b", "a"))
    assert packed is not None
    mean, square, counts = packed
    torch.testing.assert_close(mean, torch.tensor([0.1] * 3 + [0.2] * 4))
    torch.testing.assert_close(square, torch.tensor([0.001] * 3 + [0.004] * 4))
    mean.mul_(10)
    counts.fill_(7)
    stored = state.checkpoint().optimiser
    assert stored["exp_avg/a"].tolist() == [[2, 2], [2, 2]]
    assert stored["step/b"] == 7
    mean.zero_()
    assert stored["exp_avg/b"].tolist() == [1, 1, 1]  # what was stored stays


def test_weights_that_have_not_had_the_same_updates_are_not_packed() -> None:
    state = TrainState.start({"a": torch.ones(2), "b": torch.ones(3)}, 0.0, torch.device("cpu"))
    state.step({"a": torch.ones(2)}, 0.1)
    assert state.pack_moments(("a", "b")) is None
    mixed = TrainState.start({"a": torch.ones(2), "b": torch.ones(3).double()}, 0.0, torch.device("cpu"))
    assert mixed.pack_moments(("a", "b")) is None


class Penalised(MAML):
    """Somebody's own: what it makes of the gradient must not come too late."""

    def meta_gradient(self, batch: TaskBatch, **more: Any) -> MetaGradient:
        out = super().meta_gradient(batch, **more)
        for name, gradient in out.grads.items():
            gradient.add_(self.params[name])
        return out


def test_which_learners_take_an_update(tmp_path: Path) -> None:
    assert takes_update(learner("compile"))
    assert not takes_update(learner("eager"))
    assert not takes_update(learner("compile", estimator="implicit"))
    assert not takes_update(LinearMaml())
    patched = learner("compile")
    patched.meta_gradient = patched.meta_gradient
    assert not takes_update(patched)
    plain = learner("compile")
    own = Penalised(plain.model.module, SGD(0.01), 1, kind="regression", engine="compile")
    assert not takes_update(own)


def test_an_update_is_made_outside_where_the_gradient_is_not_one_graph() -> None:
    ours = learner("eager")

    def subtract(params: Any, loss: Any, grads: Any, kept: Any) -> torch.Tensor:
        for name, gradient in grads.items():
            params[name].sub_(gradient)
        kept.add_(1)
        return 2 * loss

    before, kept = {n: p.clone() for n, p in ours.params.items()}, torch.zeros(())
    out = ours.meta_gradient(Sinusoids().batch(0, 3), update=subtract, kept=kept)
    assert out.updated == 2 * out.loss
    assert kept == 1
    for name, p in ours.params.items():
        torch.testing.assert_close(p, before[name] - out.grads[name])


def test_without_a_compiler_parameters_that_ask_for_gradients_are_updated_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "compiler_found", lambda: False)
    ours = learner()
    params = {n: p.clone().requires_grad_() for n, p in ours.params.items()}
    ours.params = params
    adam = AdamUpdate(tuple(params), None)
    mean, square = torch.zeros(19), torch.zeros(19)
    out = ours.meta_gradient(
        Sinusoids().batch(0, 3), update=adam, kept=(mean, square, Adam().corrected_rates(1, 0.1, 0.0, mean), {})
    )
    assert out.updated is not None
    torch.testing.assert_close(mean, 0.1 * torch.cat([g.reshape(-1) for g in out.grads.values()]))


def test_an_update_of_gathered_statistics_is_refused() -> None:
    model = nn.Sequential(nn.Linear(1, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
    ours = build("maml++", model, inner_lr=0.01, steps=1, kind="regression", engine="compile")
    assert not takes_update(ours)
    with pytest.raises(MetaftError, match="update them afterwards"):
        ours.meta_gradient(Sinusoids().batch(0, 3), update=AdamUpdate((), None))


class Listening(World):
    """Notes the signals that it is told of."""

    def __init__(self) -> None:
        self.heard: list[int] = []

    def agree(self, out: Any, share: Share, seconds: float, signum: int) -> tuple[Any, float]:
        self.heard.append(signum)
        return out, seconds


class Interrupted(LinearMaml):
    """A signal comes while it computes."""

    def __init__(self, stop: StopRequest) -> None:
        super().__init__()
        self.stop = stop

    def meta_gradient(self, batch: TaskBatch) -> Gradient:
        self.stop.signum = signal.SIGTERM
        return super().meta_gradient(batch)


def test_a_signal_during_the_gradient_is_told_to_the_other_ranks_at_once() -> None:
    stop, world = StopRequest(), Listening()
    ours: Any = Interrupted(stop)
    state = TrainState.start(ours.params, 0.0, torch.device("cpu"))
    make = update.meta_update(ours, state, None, world, False, lambda loss, out: ValueError(loss))
    share = world.share(Sinusoids().batch(0, 3))
    told = make(share, 0.1, lambda: 7.0, stop, lambda share: [float(share.batch.tasks)])
    assert world.heard == [signal.SIGTERM]
    assert (told.seconds, told.seen) == (7.0, [3.0])
