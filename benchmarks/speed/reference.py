"""The meta-gradient as a loop a reader can check: the reference that every library must agree with."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch.func import functional_call

from benchmarks.speed.problem import Params, Problem


def plain(problem: Problem, first_order: bool | None = None) -> Params:
    """Differentiate through the inner loop with ``torch.autograd.grad``, task by task.

    Args:
        problem: what to compute.
        first_order: take the inner gradients for constants; as the problem says if None.

    Returns:
        The gradient of the mean query loss.
    """
    if first_order is not None:
        problem = replace(problem, first_order=first_order)
    model = problem.model()
    start: Params = dict(model.named_parameters())
    buffers = {name: b.clone() for name, b in model.named_buffers()}
    total = {name: torch.zeros_like(p) for name, p in start.items()}
    for support_x, support_y, query_x, query_y in problem.each():
        params = start
        with problem.differentiable_twice():
            for _ in range(problem.steps):
                loss = problem.loss(functional_call(model, (params, buffers), (support_x,)), support_y)
                grads = torch.autograd.grad(loss, list(params.values()), create_graph=not problem.first_order)
                params = {name: p - problem.lr * g for (name, p), g in zip(params.items(), grads, strict=True)}
            loss = problem.loss(functional_call(model, (params, buffers), (query_x,)), query_y)
            for name, g in zip(start, torch.autograd.grad(loss, list(start.values())), strict=True):
                total[name] += g / problem.batch.tasks
    return total
