"""One meta-update of a run: gradient, norm, clipping, Adam; one compiled call where a learner can have it so."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from metaft.distributed.world import Share, World
from metaft.errors import MetaftError
from metaft.learners.learner import MetaLearner
from metaft.outer.meta_gradient import MetaGradient
from metaft.runs.adam import Adam, numbers_of
from metaft.runs.state import TrainState

Clock = Callable[[], float]
MetaUpdate = Callable[[Share, float, Clock, int], tuple[float, float, float]]
"""``(tasks, learning rate, clock, signal) → (loss, norm of the gradient before clipping, seconds)``; the clock is read
once the gradient is known, and of several ranks that of the first counts."""

Refuse = Callable[[float, MetaGradient], Exception]
"""``(loss, gradient) → the error`` that says what is not finite; the weights are those before the update."""


def meta_update(
    learner: MetaLearner, state: TrainState, clip: float | None, world: World, images: bool, refuse: Refuse
) -> MetaUpdate:
    """The way to update a run's weights.

    Args:
        learner: gives gradients at ``state.weights``.
        state: of the run; updated in place.
        clip: the largest norm of the gradient, or None.
        world: the ranks that share a batch's tasks.
        images: whether examples are images, whose meta-gradient is compiled in pieces.
        refuse: makes the error for a loss or gradient that is not finite.

    Returns:
        A call for each update. For a learner that ``takes_update``, in a run of one process that is one compiled
        function from the tasks to the new weights; elsewhere it is several, with other rounding.
    """
    if getattr(learner, "takes_update", False) and world.size == 1 and not images:
        packed = state.packed(tuple(learner.trains))  # type: ignore[attr-defined]
        if packed is not None:
            return _whole(learner, state, Adam(tuple(learner.trains), clip), packed, refuse)  # type: ignore[attr-defined]
    return _in_parts(learner, state, clip, world, refuse)


def _whole(
    learner: Any, state: TrainState, adam: Adam, packed: tuple[Tensor, Tensor, Tensor], refuse: Refuse
) -> MetaUpdate:
    mean, square, counts = packed
    average = {name: state.average[name] for name in adam.names} if state.average else {}
    at, updates = state.progress, int(counts[0])

    def update(share: Share, lr: float, clock: Clock, signum: int) -> tuple[float, float, float]:
        nonlocal updates
        numbers = numbers_of(updates + 1, lr, state.fresh(at.iteration + 1), mean)
        out = learner.meta_gradient(share.batch, update=adam, kept=(mean, square, numbers, average))
        loss, size = out.updated.tolist()
        if not (math.isfinite(loss) and math.isfinite(size)):
            raise refuse(loss, out)
        updates += 1
        counts.fill_(updates)
        at.iteration += 1
        return loss, size, clock()

    return update


def _in_parts(learner: MetaLearner, state: TrainState, clip: float | None, world: World, refuse: Refuse) -> MetaUpdate:
    def update(share: Share, lr: float, clock: Clock, signum: int) -> tuple[float, float, float]:
        out = learner.meta_gradient(share.batch)
        if not out.grads:
            raise MetaftError(
                f"learner {learner.name!r} gives no gradients, so nothing would be trained; let its meta_scope name "
                "some of its parameters"
            )
        out, seconds = world.agree(out, share, clock(), signum)
        norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(list(out.grads.values()))))
        loss, size = torch.stack((out.loss, norm)).tolist()
        if not (math.isfinite(loss) and math.isfinite(size)):
            raise refuse(loss, out)
        if clip is not None and size > clip:
            torch._foreach_mul_(list(out.grads.values()), clip / size)
        state.step(out.grads, lr, getattr(out, "gathered", {}))
        return loss, size, seconds

    return update
