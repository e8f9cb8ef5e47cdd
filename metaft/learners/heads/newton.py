"""Newton's method on one convex function a task, all tasks at once."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from metaft.errors import MetaftError

TOLERANCE = 1e-8
"""No entry of the gradient is larger at the end, relative to the largest at the beginning (or to 1)."""
MOST_STEPS = 200
HALVINGS = 40

Map = Callable[[Tensor], Tensor]


def minimise(
    value: Callable[[Tensor], Tensor],
    derivatives: Callable[[Tensor], tuple[Tensor, Map]],
    start: Tensor,
    tolerance: float = TOLERANCE,
) -> Tensor:
    """Newton steps, shortened where the value would not fall enough (Nocedal & Wright 2006, §3.3).

    A task that has arrived stands still, so its result does not depend on the other tasks.

    Args:
        value: ``[*tasks, width, outputs] -> [*tasks]``; convex, and bounded below.
        derivatives: the gradient, and a function that solves ``H d = right`` for d, all ``[*tasks, width, outputs]``.
        start: where to begin.
        tolerance: the largest entry of the gradient at the end.

    Returns:
        The minimisers.

    Raises:
        MetaftError: if a task does not arrive within `MOST_STEPS` steps.
    """
    here, height = start, value(start)
    slope, newton = derivatives(here)
    steepest = slope.abs().amax((-2, -1))
    goal = tolerance * steepest.clamp(min=1)
    for _ in range(MOST_STEPS):
        moving = steepest > goal
        if not moving.any():
            return here
        direction = newton(-slope * moving[..., None, None])
        here, height = _descend(value, derivatives, here, height, slope, direction, moving)
        slope, newton = derivatives(here)
        steepest = slope.abs().amax((-2, -1))
    raise MetaftError(
        f"a head did not converge in {MOST_STEPS} Newton steps (gradient {float(steepest.max()):.1e}); "
        "raise its regularisation, normalise the features, or take solver=scikit-learn"
    )


def conjugate_gradients(curvature: Map, right: Tensor) -> Tensor:
    """Solve ``H d = right`` as precisely as the distance to the minimum makes worth while (ibid., alg. 7.1).

    Args:
        curvature: the product of the Hessian, at least positive semi-definite, with a direction.
        right: ``[*tasks, width, outputs]``, the negative gradient.

    Returns:
        The direction.
    """
    size = lambda t: t.square().sum((-2, -1), keepdim=True)
    direction, residual, step = torch.zeros_like(right), right, right
    square = first = size(right)
    goal = first * first.sqrt().clamp(max=0.01)
    for _ in range(right.shape[-2] * right.shape[-1]):
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
    value: Callable[[Tensor], Tensor],
    derivatives: Callable[[Tensor], tuple[Tensor, Map]],
    here: Tensor,
    height: Tensor,
    slope: Tensor,
    direction: Tensor,
    moving: Tensor,
) -> tuple[Tensor, Tensor]:
    """Take the whole step where it falls by a fair part of what the slope promises (Armijo), else the best part of it.

    The exact minimum along the line, not any shorter step, is what ends a finite Newton method.
    """
    along = lambda t: (t * direction).sum((-2, -1))
    length = moving.to(here.dtype)
    there = here + length[..., None, None] * direction
    reached = value(there)
    # Near the minimum a true fall drowns in rounding.
    short = reached > height + 1e-4 * along(slope) + 1e-14 * height.abs()
    if not (short & moving).any():
        return there, reached
    low, high = torch.zeros_like(length), length
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        rising = along(derivatives(here + middle[..., None, None] * direction)[0]) > 0
        low, high = torch.where(rising, low, middle), torch.where(rising, middle, high)
    length = torch.where(short, high, length)
    there = here + length[..., None, None] * direction
    return there, value(there)
