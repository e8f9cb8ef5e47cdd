"""The meta-update compiled with the gradient, against torch's optimiser and the update in parts."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from metaft.errors import MetaftError
from metaft.inner.rules import SGD
from metaft.learners.maml import MAML
from metaft.outer.compiled import compiler_found
from metaft.outer.meta_gradient import MetaGradient
from metaft.runs import update
from metaft.runs.adam import Adam, numbers_of
from metaft.runs.loop import meta_train
from metaft.runs.state import TrainState
from metaft.runs.stopping import StoppedRun
from metaft.tasks.batch import TaskBatch
from metaft.tasks.sinusoid import Sinusoids
from tests.runs.fakes import LinearMaml, Waves
from tests.runs.test_loop import SETTINGS, equal

needs_compiler = pytest.mark.skipif(not compiler_found(), reason="no C++ compiler")


def learner(engine: str = "compile", **more: Any) -> MAML:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(1, 6), nn.Tanh(), nn.Linear(6, 1))
    return MAML(model, SGD(0.01), 1, kind="regression", engine=engine, **more)


def run(out: Path, family: Sinusoids | None = None, engine: str = "compile", **more: Any) -> MAML:
    ours = learner(engine)
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
    adam = Adam(("c", "a"), clip)
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
            weights, torch.tensor(2.0).double(), grads, (mean, square, numbers_of(i, 0.1 / i, 0.3, mean), average)
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
    told = Adam(("a",), 1.0)(weights, loss, grads, (mean, square, numbers_of(1, 0.1, 0.5, mean), average))
    assert not bool(told.isfinite().all())
    assert weights["a"].tolist() == [1, 1]
    assert average["a"].tolist() == [3, 3]
    assert torch.equal(mean, torch.full((2,), 0.1))
    assert torch.equal(square, torch.full((2,), 0.2))


@needs_compiler
@pytest.mark.parametrize("estimator", ["exact", "reptile"])
def test_compiled_updates_are_those_in_parts(estimator: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    how: dict[str, Any] = {"outer_lr": 0.01, "clip": 1.0, "average": 0.9, "schedule": "cosine", "progress": False}
    found = []
    for engine in ("eager", "compile"):
        ours = learner(engine, estimator=estimator)
        if engine == "compile":
            monkeypatch.setattr(update, "_in_parts", None)
        meta_train(ours, Sinusoids(), 12, 4, out=tmp_path / engine, **how)
        found.append(ours.params)
    torch.testing.assert_close(found[1], found[0], rtol=1e-4, atol=1e-5)


@needs_compiler
@pytest.mark.parametrize("at", [3, 13])
def test_a_stopped_run_of_compiled_updates_resumes_to_the_same_end(tmp_path: Path, at: int) -> None:
    run(tmp_path / "whole")
    with pytest.raises(StoppedRun):
        run(tmp_path / "parts", Waves(at=at, act=lambda: os.kill(os.getpid(), signal.SIGINT)))
    run(tmp_path / "parts", resume=True)
    equal(tmp_path / "whole", tmp_path / "parts")


class Broken(Sinusoids):
    """Sinusoids with one target that is not finite."""

    def batch(self, index: int, tasks: int) -> TaskBatch:
        drawn = super().batch(index, tasks)
        if index == 6:
            drawn.query_y[1, 2] = torch.inf
        return drawn


@needs_compiler
def test_a_loss_that_is_not_finite_leaves_the_weights_of_compiled_updates(tmp_path: Path) -> None:
    good, stopped = learner(), learner()
    how: dict[str, Any] = {"outer_lr": 0.01, "progress": False}
    meta_train(good, Sinusoids(), 6, 4, out=tmp_path / "good", **how)
    with pytest.raises(MetaftError, match=r"iteration 7: .*query loss is inf"):
        meta_train(stopped, Broken(), 20, 4, out=tmp_path / "stopped", **how)
    assert all(torch.equal(good.params[n], stopped.params[n]) for n in good.params)


def test_packed_moments_are_those_that_a_checkpoint_holds() -> None:
    state = TrainState.start({"a": torch.ones(2, 2), "b": torch.ones(3)}, 0.0, torch.device("cpu"))
    state.step({"a": torch.full((2, 2), 2.0), "b": torch.ones(3)}, 0.1)
    packed = state.packed(("b", "a"))
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
    assert state.packed(("a", "b")) is None
    mixed = TrainState.start({"a": torch.ones(2), "b": torch.ones(3).double()}, 0.0, torch.device("cpu"))
    assert mixed.packed(("a", "b")) is None


def test_which_learners_take_an_update() -> None:
    assert learner("compile").takes_update
    assert not learner("eager").takes_update
    assert not learner("compile", estimator="implicit").takes_update
    assert not hasattr(LinearMaml(), "takes_update")


def test_an_update_is_made_outside_where_the_gradient_is_not_one_graph() -> None:
    ours = learner("eager")
    seen: list[MetaGradient] = []

    def halve(params: Any, loss: Any, grads: Any, kept: Any) -> torch.Tensor:
        for name, gradient in grads.items():
            params[name].sub_(gradient)
        kept.add_(1)
        return 2 * loss

    before, kept = {n: p.clone() for n, p in ours.params.items()}, torch.zeros(())
    seen.append(ours.meta_gradient(Sinusoids().batch(0, 3), update=halve, kept=kept))
    assert seen[0].updated == 2 * seen[0].loss
    assert kept == 1
    for name, p in ours.params.items():
        torch.testing.assert_close(p, before[name] - seen[0].grads[name])
