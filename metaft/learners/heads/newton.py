"""Newton's method on one convex function a task, all tasks at once."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from metaft.errors import MetaftError

TOLERANCE = 1e-18
"""How far a value may still fall, relative to it, by what the Newton decrement promises."""
NEAR = 1e-12
"""The same where a step has not halved it: no more is to be had than rounding."""
STALLED, PATIENCE = 1e-6, 3
"""The same where so many steps in a row have not: on what is told apart with certainty Newton's method leaves 1/e of
it in each step, and is not to be ended there."""
MOST_STEPS = 200
HALVINGS = 40
PRECISION, MOST_PRODUCTS = 1e-3, 300
"""Of a system that conjugate gradients solve: its residual at the end, relative to that at the beginning."""

Map = Callable[[Tensor], Tensor]


def minimise(
    value: Callable[[Tensor], Tensor],
    derivatives: Callable[[Tensor], tuple[Tensor, Map]],
    start: Tensor,
    tolerance: float = TOLERANCE,
) -> Tensor:
    """Newton steps, shortened where the value would not fall enough (Nocedal & Wright 2006, §3.3).

    The end is told by Newton's decrement gᵀH⁻¹g, twice what the value can still fall by (Boyd & Vandenberghe 2004,
    §9.5.1): unlike the gradient it has no unit of its own, so the end does not depend on the scale of what the
    function is of. At least one step is made. A task that has arrived stands still, so its result does not depend on
    the other tasks.

    Args:
        value: ``[*tasks, width, outputs] -> [*tasks]``; convex, and bounded below.
        derivatives: the gradient, and a function that solves ``H d = right`` for d, all ``[*tasks, width, outputs]``.
        start: where to begin.
        tolerance: the decrement at the end, relative to the value.

    Returns:
        The minimisers.

    Raises:
        MetaftError: if a task does not arrive within `MOST_STEPS` steps.
    """
    here, height = start, value(start)
    least = torch.full_like(height, torch.inf)
    stuck = torch.zeros_like(height)
    for count in range(MOST_STEPS):
        slope, newton = derivatives(here)
        flat = ~slope.flatten(-2).any(-1)
        direction = newton(-slope)
        fall = -(slope * direction).sum((-2, -1))
        size = height.abs()
        stuck = torch.where(fall < least / 2, 0, stuck + 1)
        arrived = fall <= tolerance * size
        arrived |= ((fall <= NEAR * size) & (stuck > 0)) | ((fall <= STALLED * size) & (stuck >= PATIENCE))
        moving = ~flat if count == 0 else ~(flat | arrived)
        if not moving.any():
            return here
        here, height = _descend(value, derivatives, here, height, slope, direction * moving[..., None, None], moving)
        least = torch.where(moving, torch.minimum(least, fall), least)
    raise MetaftError(
        f"a head did not converge in {MOST_STEPS} Newton steps (it could still fall by {float(fall.max()):.1e}); "
        "raise its regularisation, normalise the features, or take solver=scikit-learn"
    )


def conjugate_gradients(curvature: Map, right: Tensor, size: Tensor) -> tuple[Tensor, Tensor]:
    """Solve ``H d = right`` by preconditioned conjugate gradients (ibid., alg. 5.3).

    Args:
        curvature: the product of the Hessian, at least positive semi-definite, with a direction.
        right: ``[*tasks, width, outputs]``, the negative gradient.
        size: above 0, shaped like it: about the Hessian's diagonal.

    Returns:
        The direction; and ``bool [*tasks]``, which are solved to `PRECISION`: a system may be too ill-conditioned.
    """
    within = lambda a, b: (a * b).sum((-2, -1), keepdim=True)
    unit = right.abs().amax((-2, -1), keepdim=True)
    unit = torch.where(unit > 0, unit, 1.0)
    direction, residual = torch.zeros_like(right), right / unit
    step = residual / size
    square = within(residual, step)
    goal = PRECISION**2 * square
    for _ in range(MOST_PRODUCTS):
        working = square > goal
        if not working.any():
            break
        bent = curvature(step)
        curve = within(step, bent)
        working = working & (curve > 0)
        length = torch.where(working, square / torch.where(working, curve, 1), 0)
        direction, residual = direction + length * step, residual - length * bent
        after = torch.where(working, within(residual, residual / size), square)
        step = torch.where(working, residual / size + after / torch.where(working, square, 1) * step, step)
        square = after
        if not working.any():
            break
    return unit * direction, (square <= goal).squeeze(-1).squeeze(-1)


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
