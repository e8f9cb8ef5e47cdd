"""Whether libraries compute the same meta-gradient, before anything is timed."""

from __future__ import annotations

import math

from benchmarks.speed.problem import Params, Problem
from benchmarks.speed.reference import plain

TOLERANCE = 1e-8


def difference(found: Params, expected: Params) -> float:
    """The largest relative error over parameters, ‖found − expected‖ / ‖expected‖.

    A parameter whose true gradient is zero (a convolution's bias before batch norm) has only rounding in it and is
    left out: its norm is below 1e-12 of the whole gradient's.

    Args:
        found: a gradient.
        expected: the gradient it should be, in float64.

    Returns:
        The error; infinite if a parameter is missing or a number is not finite.
    """
    if found.keys() != expected.keys():
        return float("inf")
    size = sum(float(g.norm()) ** 2 for g in expected.values()) ** 0.5
    counted = [name for name, g in expected.items() if float(g.norm()) > 1e-12 * size]
    errors = [float((found[n].detach() - expected[n]).norm() / expected[n].norm()) for n in counted]
    return max(errors) if all(math.isfinite(error) for error in errors) else math.inf


def second_order_share(problem: Problem, expected: Params) -> float:
    """How wrong a gradient of the other order would be here: agreement says something only if this is far from 0.

    Args:
        problem: the small float64 problem.
        expected: its gradient.

    Returns:
        The relative error of the first-order gradient, or of the exact one where first-order is asked for.
    """
    return difference(plain(problem, first_order=not problem.first_order), expected)
