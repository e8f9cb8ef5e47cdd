"""The libraries, each computing the meta-gradient as its own documentation tells its users to."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.problem import Compute, Params, Problem
from metaft.data.compat import learn2learn_module
from metaft.inner.rules import SGD
from metaft.learners.maml import MAML


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def with_metaft(problem: Problem, **options: Any) -> Compute:
    """metaft as ``metaft meta-train`` sets it up: compiled, images and sentences divided among one worker a core."""
    how: dict[str, Any] = {
        "engine": "compile",
        "workers": cores() if problem.images or problem.attends else 1,
    } | options
    if problem.first_order:
        how["estimator"] = "first-order"
    learner = MAML(problem.model(), SGD(problem.lr), problem.steps, kind=problem.kind, **how)
    return lambda: learner.meta_gradient(problem.batch).grads


def with_metaft_uncompiled(problem: Problem) -> Compute:
    """The same without torch.compile."""
    return with_metaft(problem, engine="eager")


def with_learn2learn(problem: Problem) -> Compute:
    """``MAML.clone`` and ``adapt`` in a loop over tasks, as in learn2learn's examples/vision/maml_omniglot.py."""
    l2l = learn2learn_module()
    model = problem.model()
    maml = l2l.algorithms.MAML(model, lr=problem.lr, first_order=problem.first_order)

    def compute() -> Params:
        maml.zero_grad()
        for support_x, support_y, query_x, query_y in zip(*problem.batch.tensors(), strict=True):
            learner = maml.clone()
            with problem.differentiable_twice():
                for _ in range(problem.steps):
                    learner.adapt(problem.loss(learner(support_x), support_y))
                problem.loss(learner(query_x), query_y).backward()
        return _gradient(model, 1 / problem.batch.tasks)

    return compute


def with_higher(problem: Problem) -> Compute:
    """``innerloop_ctx`` in a loop over tasks, as in higher's examples/maml-omniglot.py."""
    import higher as hi

    model = problem.model()
    optimiser = torch.optim.SGD(model.parameters(), lr=problem.lr)

    def compute() -> Params:
        model.zero_grad()
        for support_x, support_y, query_x, query_y in zip(*problem.batch.tensors(), strict=True):
            with (
                problem.differentiable_twice(),
                hi.innerloop_ctx(model, optimiser, copy_initial_weights=False) as (fmodel, diffopt),
            ):
                for _ in range(problem.steps):
                    diffopt.step(problem.loss(fmodel(support_x), support_y))
                problem.loss(fmodel(query_x), query_y).backward()
        return _gradient(model, 1 / problem.batch.tasks)

    def first_order() -> Params:
        total: list[Tensor] = []
        for support_x, support_y, query_x, query_y in zip(*problem.batch.tensors(), strict=True):
            # Without its graph the inner loop is plain training: the gradient is that at the last weights.
            with hi.innerloop_ctx(model, optimiser, track_higher_grads=False) as (fmodel, diffopt):
                for _ in range(problem.steps):
                    diffopt.step(problem.loss(fmodel(support_x), support_y))
                found = torch.autograd.grad(problem.loss(fmodel(query_x), query_y), list(fmodel.parameters()))
            total = _added(total, found)
        return _mean(model, total, problem.batch.tasks)

    return first_order if problem.first_order else compute


def with_torchopt(problem: Problem) -> Compute:
    """``MetaSGD`` with the state recovered after each task, as in TorchOpt's examples/few-shot/maml_omniglot.py."""
    import torchopt as to

    model = problem.model()
    optimiser = to.MetaSGD(model, lr=problem.lr)
    named = dict(model.named_parameters())

    def compute() -> Params:
        model.zero_grad()
        start = to.extract_state_dict(model, by="reference", detach_buffers=True)
        start_optimiser = to.extract_state_dict(optimiser, by="reference")
        losses = []
        with problem.differentiable_twice():
            for support_x, support_y, query_x, query_y in zip(*problem.batch.tensors(), strict=True):
                for _ in range(problem.steps):
                    optimiser.step(problem.loss(model(support_x), support_y))
                losses.append(problem.loss(model(query_x), query_y))
                to.recover_state_dict(model, start)
                to.recover_state_dict(optimiser, start_optimiser)
        torch.mean(torch.stack(losses)).backward()
        return {name: _of(p) for name, p in named.items()}

    rule = to.sgd(lr=problem.lr)

    def first_order() -> Params:
        total: list[Tensor] = []
        for support_x, support_y, query_x, query_y in zip(*problem.batch.tensors(), strict=True):
            # ``MetaSGD`` always makes the graph; the rule behind it, as a function, does not ask for one.
            params, state = tuple(p.detach().requires_grad_() for p in named.values()), rule.init(tuple(named.values()))
            for _ in range(problem.steps):
                loss = problem.loss(_call(model, named, params, support_x), support_y)
                updates, state = rule.update(torch.autograd.grad(loss, params), state, inplace=True)
                with torch.no_grad():
                    params = to.apply_updates(params, updates, inplace=False)
                params = tuple(p.requires_grad_() for p in params)
            found = torch.autograd.grad(problem.loss(_call(model, named, params, query_x), query_y), params)
            total = _added(total, found)
        return _mean(model, total, problem.batch.tasks)

    return first_order if problem.first_order else compute


def _call(model: nn.Module, names: Iterable[str], params: Iterable[Tensor], x: Tensor) -> Tensor:
    answer: Tensor = torch.func.functional_call(model, dict(zip(names, params, strict=True)), (x,))
    return answer


def _added(total: list[Tensor], found: Sequence[Tensor]) -> list[Tensor]:
    torch._foreach_add_(total, found) if total else total.extend(found)
    return total


def _mean(model: nn.Module, total: list[Tensor], tasks: int) -> Params:
    torch._foreach_div_(total, tasks)
    return {name: gradient for (name, _), gradient in zip(model.named_parameters(), total, strict=True)}


def _gradient(model: nn.Module, scale: float) -> Params:
    """The gradients of a loop that summed them over tasks."""
    return {name: _of(p).mul_(scale) for name, p in model.named_parameters()}


def _of(parameter: Tensor) -> Tensor:
    assert parameter.grad is not None
    return parameter.grad


OURS: dict[str, Callable[[Problem], Compute]] = {"metaft": with_metaft, "metaft, uncompiled": with_metaft_uncompiled}
PEERS: dict[str, Callable[[Problem], Compute]] = {
    "learn2learn": with_learn2learn,
    "higher": with_higher,
    "TorchOpt": with_torchopt,
}
