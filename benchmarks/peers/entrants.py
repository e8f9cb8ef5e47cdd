"""The libraries, each computing the meta-gradient as its own documentation tells its users to."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from benchmarks.speed.problem import Compute, Params, Problem
from metaft.data.compat import learn2learn_module
from metaft.inner.rules import SGD
from metaft.learners.maml import MAML


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def with_metaft(problem: Problem, **options: Any) -> Compute:
    """metaft as ``metaft meta-train`` sets it up: compiled, images and sentences divided among one worker a core."""
    workers = cores() if problem.images or problem.attends else 1
    order = {"estimator": "first-order"} if problem.first_order else {}
    how: dict[str, Any] = {"engine": "compile", "workers": workers, **options, **order}
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
        for support_x, support_y, query_x, query_y in problem.each():
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
        for support_x, support_y, query_x, query_y in problem.each():
            inner = hi.innerloop_ctx(model, optimiser, copy_initial_weights=False)
            with problem.differentiable_twice(), inner as (fmodel, diffopt):
                for _ in range(problem.steps):
                    diffopt.step(problem.loss(fmodel(support_x), support_y))
                problem.loss(fmodel(query_x), query_y).backward()
        return _gradient(model, 1 / problem.batch.tasks)

    def first_order(support_x: Tensor, support_y: Tensor, query_x: Tensor, query_y: Tensor) -> Sequence[Tensor]:
        # Without its graph the inner loop is plain training: the gradient is that at the last weights.
        with hi.innerloop_ctx(model, optimiser, track_higher_grads=False) as (fmodel, diffopt):
            for _ in range(problem.steps):
                diffopt.step(problem.loss(fmodel(support_x), support_y))
            return torch.autograd.grad(problem.loss(fmodel(query_x), query_y), list(fmodel.parameters()))

    return partial(_mean, problem, model, first_order) if problem.first_order else compute


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
            for support_x, support_y, query_x, query_y in problem.each():
                for _ in range(problem.steps):
                    optimiser.step(problem.loss(model(support_x), support_y))
                losses.append(problem.loss(model(query_x), query_y))
                to.recover_state_dict(model, start)
                to.recover_state_dict(optimiser, start_optimiser)
        torch.mean(torch.stack(losses)).backward()
        return _gradient(model)

    rule = to.sgd(lr=problem.lr)
    loss_at = lambda params, x, y: problem.loss(functional_call(model, dict(zip(named, params, strict=True)), (x,)), y)

    def first_order(support_x: Tensor, support_y: Tensor, query_x: Tensor, query_y: Tensor) -> Sequence[Tensor]:
        # ``MetaSGD`` always makes the graph; the rule behind it, as a function, does not ask for one.
        params, state = tuple(p.detach().requires_grad_() for p in named.values()), rule.init(tuple(named.values()))
        for _ in range(problem.steps):
            grads = torch.autograd.grad(loss_at(params, support_x, support_y), params)
            updates, state = rule.update(grads, state, inplace=True)
            with torch.no_grad():
                params = to.apply_updates(params, updates, inplace=False)
            params = tuple(p.requires_grad_() for p in params)
        return torch.autograd.grad(loss_at(params, query_x, query_y), params)

    return partial(_mean, problem, model, first_order) if problem.first_order else compute


def _mean(problem: Problem, model: nn.Module, gradient: Callable[..., Sequence[Tensor]]) -> Params:
    """The mean over tasks of what a library gives for one."""
    total: list[Tensor] = []
    for task in problem.each():
        found = gradient(*task)
        torch._foreach_add_(total, found) if total else total.extend(found)
    torch._foreach_div_(total, problem.batch.tasks)
    return dict(zip(dict(model.named_parameters()), total, strict=True))


def _gradient(model: nn.Module, scale: float | None = None) -> Params:
    """The gradients that a loop left, times a number if it summed them over tasks."""
    grads = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return grads if scale is None else {name: grad.mul_(scale) for name, grad in grads.items()}


Maker = Callable[[Problem], Compute]
OURS: dict[str, Maker] = {"metaft": with_metaft, "metaft, uncompiled": with_metaft_uncompiled}
PEERS: dict[str, Maker] = {"learn2learn": with_learn2learn, "higher": with_higher, "TorchOpt": with_torchopt}
