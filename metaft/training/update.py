"""One meta-update of a run: gradient, norm, clipping, optimiser; one compiled call where it can be had so."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from metaft.distributed.share import Share
from metaft.distributed.world import World
from metaft.errors import MetaftError
from metaft.learners.learner import MetaLearner, takes_update
from metaft.outer.mean_gradient import MetaGradient
from metaft.training.optimisers.adam import AdamUpdate
from metaft.training.state import TrainState
from metaft.training.stopping import StopRequest

Look = Callable[[Share], list[float]]
"""What is to be seen of some tasks at the weights before their update."""


class Updated(NamedTuple):
    """What an update tells.

    Args:
        loss: of its tasks, before it.
        norm: of the gradient, before clipping.
        seconds: the clock once the gradient is known; of several ranks the first one's.
        seen: what was seen before it, empty if nothing was looked at.
    """

    loss: float
    norm: float
    seconds: float
    seen: list[float]


class MetaUpdate(Protocol):
    """One update of a run's weights."""

    def __call__(
        self, share: Share, lr: float, clock: Callable[[], float], stop: StopRequest, look: Look | None
    ) -> Updated:
        """Update the weights by these tasks; clock and stop are read once the gradient is known."""
        ...


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
        A call for each update. Where the learner takes an update with the gradient, the optimiser is Adam, examples are
        vectors, the weights of one precision and the run one process, it is one compiled function from the tasks to the
        new weights; elsewhere it is several, with other rounding.
    """
    if takes_update(learner) and world.size == 1 and not images:
        names = tuple(learner.trains)  # type: ignore[attr-defined]
        whole = state.optimiser.compiled(names, clip)
        packed = state.pack_moments(names) if whole is not None else None
        if whole is not None and packed is not None:
            return _whole(learner, state, whole, packed, refuse)
    return _in_parts(learner, state, clip, world, refuse)


def _whole(
    learner: Any, state: TrainState, adam: AdamUpdate, packed: tuple[Tensor, Tensor, Tensor], refuse: Refuse
) -> MetaUpdate:
    mean, square, counts = packed
    average = {name: state.average[name] for name in adam.names} if state.average else {}
    at, updates = state.progress, int(counts[0])

    def update(share: Share, lr: float, clock: Callable[[], float], stop: StopRequest, look: Look | None) -> Updated:
        nonlocal updates
        seen = look(share) if look else []
        rates = adam.adam.corrected_rates(updates + 1, lr, state.share_of_latest(at.iteration + 1), mean)
        out = learner.meta_gradient(share.batch, update=adam, kept=(mean, square, rates, average))
        loss, size = _finite(out.updated, out, refuse)
        updates += 1
        counts.fill_(updates)
        at.iteration += 1
        return Updated(loss, size, clock(), seen)

    return update


def _in_parts(learner: MetaLearner, state: TrainState, clip: float | None, world: World, refuse: Refuse) -> MetaUpdate:
    def update(share: Share, lr: float, clock: Callable[[], float], stop: StopRequest, look: Look | None) -> Updated:
        out = learner.meta_gradient(share.batch)
        if not out.grads:
            raise MetaftError(
                f"learner {learner.name!r} gives no gradients, so nothing would be trained; let its meta_scope name "
                "some of its parameters"
            )
        out, seconds = world.agree(out, share, clock(), stop.signum)
        norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(list(out.grads.values()))))
        loss, size = _finite(torch.stack((out.loss, norm)), out, refuse)
        if clip is not None and size > clip:
            torch._foreach_mul_(list(out.grads.values()), clip / size)
        seen = look(share) if look else []
        state.step(out.grads, lr, getattr(out, "gathered", {}))
        return Updated(loss, size, seconds, seen)

    return update


def _finite(told: Tensor, out: MetaGradient, refuse: Refuse) -> tuple[float, float]:
    """Loss and norm as numbers, or the error that says what is none."""
    loss, size = told.tolist()
    if not (math.isfinite(loss) and math.isfinite(size)):
        raise refuse(loss, out)
    return loss, size
