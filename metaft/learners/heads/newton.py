"""A truncated Newton method that minimises one convex function a task, all tasks at once."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from metaft.errors import MetaftError

TOLERANCE = 1e-8
"""No entry of the gradient is larger at the end, relative to the largest at the beginning (or to 1)."""
MOST_STEPS = 200
HALVINGS = 40

Product = Callable[[Tensor], Tensor]


def minimise(
    value: Callable[[Tensor], Tensor],
    derivatives: Callable[[Tensor], tuple[Tensor, Product]],
    start: Tensor,
    tolerance: float = TOLERANCE,
) -> Tensor:
    """Newton steps found by conjugate gradients, shortened until the value falls (Nocedal & Wright 2006, alg. 7.1).

    A task that has arrived stands still, so its result does not depend on the other tasks.

    Args:
        value: ``[tasks, width, outputs] -> [tasks]``; convex, and bounded below.
        derivatives: the gradient, and the product of the Hessian with a direction, all ``[tasks, width, outputs]``.
        start: where to begin.
        tolerance: the largest entry of the gradient at the end.

    Returns:
        The minimisers.

    Raises:
        MetaftError: if a task does not arrive within `MOST_STEPS` steps.
    """
    here, height = start, value(start)
    scale: Tensor | None = None
    for _ in range(MOST_STEPS):
        slope, curvature = derivatives(here)
        steepest = slope.abs().amax((-2, -1))
        scale = steepest.clamp(min=1) if scale is None else scale
        moving = steepest > tolerance * scale
        if not moving.any():
            return here
        direction = _conjugate_gradients(curvature, -slope * moving[:, None, None])
        here, height = _descend(value, here, height, direction, (slope * direction).sum((-2, -1)), moving)
    raise MetaftError(
        f"a head did not converge in {MOST_STEPS} Newton steps (gradient {float((steepest / scale).max()):.1e}); "
        "raise its regularisation, normalise the features, or take solver=scikit-learn"
    )


def _conjugate_gradients(curvature: Product, right: Tensor) -> Tensor:
    """Solve ``H d = right`` as precisely as the distance to the minimum makes worth while (superlinear forcing)."""
    size = lambda t: t.square().sum((-2, -1), keepdim=True)
    direction, residual, step = torch.zeros_like(right), right, right
    square = first = size(right)
    goal = first * first.sqrt().clamp(max=0.01)
    for _ in range(right[0].numel()):
        working = square > goal
        if not working.any():
            break
        bent = curvature(step)
        curve = (step * bent).sum((-2, -1), keepdim=True)
        working = working & (curve > 0)
        length = torch.where(working, square / torch.where(curve > 0, curve, 1), 0)
        direction, residual = direction + length * step, residual - length * bent
        after = torch.where(working, size(residual), square)
        step = torch.where(working, residual + after / torch.where(square > 0, square, 1) * step, step)
        square = torch.where(working, after, torch.zeros_like(after))
    return direction


def _descend(
    value: Callable[[Tensor], Tensor], here: Tensor, height: Tensor, direction: Tensor, fall: Tensor, moving: Tensor
) -> tuple[Tensor, Tensor]:
    """Halve the step of each task until it falls by a fair part of what the slope promises (Armijo)."""
    length = moving.to(here.dtype)
    # Near the minimum a true fall drowns in rounding.
    slack = 1e-14 * height.abs()
    for _ in range(HALVINGS):
        there = here + length[:, None, None] * direction
        reached = value(there)
        short = reached > height + 1e-4 * length * fall + slack
        if not short.any():
            break
        length = torch.where(short, length / 2, length)
    return there, reached
