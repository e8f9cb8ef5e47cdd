"""How the outer learning rate changes over a run."""

from __future__ import annotations

import math
from typing import Literal

Schedule = Literal["constant", "cosine", "linear"]


def learning_rate(base: float, schedule: str, done: float, warmup: float = 0.0) -> float:
    """The outer learning rate at one point of the run.

    Args:
        base: the rate at the start.
        schedule: "constant"; "cosine" (Loshchilov & Hutter 2017, eq. 5, one cycle down to 0); or "linear", down to 0.
        done: the fraction of the run behind us, 0 to 1.
        warmup: the fraction of the run in which the rate rises from 0; its course begins behind that.

    Returns:
        The rate for the next update.
    """
    if done < warmup:
        return base * done / warmup
    done = (done - warmup) / (1 - warmup)
    if schedule == "constant":
        return base
    if schedule == "linear":
        return base * (1.0 - min(done, 1.0))
    return base * 0.5 * (1.0 + math.cos(math.pi * min(done, 1.0)))


def fraction_done(iteration: int, iterations: int | None, seconds: float, minutes: float | None) -> float:
    """How much of a run is behind us, by whichever limit is nearer.

    Args:
        iteration: updates made.
        iterations: the most there will be, or None.
        seconds: time spent.
        minutes: the time budget, or None.

    Returns:
        0 to 1, and 1 when the run is over.
    """
    by_count = iteration / iterations if iterations is not None else 0.0
    by_clock = seconds / (60.0 * minutes) if minutes is not None else 0.0
    return min(max(by_count, by_clock), 1.0)
