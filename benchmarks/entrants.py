"""The libraries, each computing the meta-gradient as its own documentation tells its users to."""

from __future__ import annotations

import os
from collections.abc import Callable
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
    """metaft as ``metaft meta-train`` sets it up: compiled, images divided among one worker a core."""
    how: dict[str, Any] = {"engine": "compile", "workers": cores() if problem.images else 1} | options
    learner = MAML(problem.model(), SGD(problem.lr), problem.steps, kind=problem.kind, **how)
    return lambda: learner.meta_gradient(problem.batch).grads


def with_metaft_uncompiled(problem: Problem) -> Compute:
    """The same without torch.compile."""
    return with_metaft(problem, engine="eager")


def with_learn2learn(problem: Problem) -> Compute:
    """``MAML.clone`` and ``adapt`` in a loop over tasks, as in learn2learn's examples/vision/maml_omniglot.py."""
    l2l = learn2learn_module()
    model = problem.model()
    maml = l2l.algorithms.MAML(model, lr=problem.lr, first_order=False)

    def compute() -> Params:
        maml.zero_grad()
        for support_x, support_y, query_x, query_y in zip(*problem.batch.tensors(), strict=True):
            learner = maml.clone()
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
            with hi.innerloop_ctx(model, optimiser, copy_initial_weights=False) as (fmodel, diffopt):
                for _ in range(problem.steps):
                    diffopt.step(problem.loss(fmodel(support_x), support_y))
                problem.loss(fmodel(query_x), query_y).backward()
        return _gradient(model, 1 / problem.batch.tasks)

    return compute


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
        for support_x, support_y, query_x, query_y in zip(*problem.batch.tensors(), strict=True):
            for _ in range(problem.steps):
                optimiser.step(problem.loss(model(support_x), support_y))
            losses.append(problem.loss(model(query_x), query_y))
            to.recover_state_dict(model, start)
            to.recover_state_dict(optimiser, start_optimiser)
        torch.mean(torch.stack(losses)).backward()
        return {name: _of(p) for name, p in named.items()}

    return compute


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
