"""Batch norm whose scale, shift and running statistics belong to a step of the inner loop (MAML++)."""

from __future__ import annotations

import torch
from torch import Tensor

from metaft.errors import MetaftError
from metaft.inner.adapt import Inner, adapt, network
from metaft.inner.rules import Params
from metaft.models.functional import Functional
from metaft.tasks.batch import IGNORE, TaskBatch
from metaft.tasks.soft_targets import labels_of

GATHERED = "gathered:"
"""Begins the names of running statistics among the meta-parameters, and that of their count."""
COUNT = f"{GATHERED}updates"
MEMORY = 0.01
"""What one update counts in the statistics, once there have been 100 of them; before, all count alike."""
TASKS = 1
"""Tasks of a batch whose statistics are gathered: the inner loop is run again for them."""


def affine(model: Functional) -> tuple[str, ...]:
    """The names of batch norm's scales and shifts.

    Args:
        model: the network.

    Returns:
        Names among its parameters; none where it has no batch norm.
    """
    own = model.params()
    return tuple(name for layer in model.norms for name in (f"{layer}.weight", f"{layer}.bias") if name in own)


def for_each_step(params: Params, names: tuple[str, ...], steps: int) -> Params:
    """Parameters with a copy of some for each step.

    Args:
        params: by name.
        names: which get one.
        steps: how many copies, K.

    Returns:
        The same, those named with a leading axis of K.
    """
    return {n: p.expand(max(steps, 1), *p.shape).clone() if n in names else p for n, p in params.items()}


def initial(model: Functional, steps: int) -> Params:
    """Running statistics before the first update, for the queries after 0 … K steps.

    Args:
        model: the network.
        steps: K.

    Returns:
        ``gathered:LAYER.running_mean`` and ``…running_var``, ``[K + 1, channels]``, and the count of updates.

    Raises:
        MetaftError: if a batch norm of the network keeps no running statistics.
    """
    found: Params = {}
    for name in (f"{layer}.{kind}" for layer in model.norms for kind in ("running_mean", "running_var")):
        if name not in model.buffers:
            raise MetaftError(f"statistics of each step need batch norm that keeps some, and there is no {name!r}")
        found[GATHERED + name] = model.buffers[name].expand(steps + 1, -1).clone()
    first = next(iter(found.values()))
    return found | {COUNT: first.new_zeros(())}


def after(steps: int, params: Params) -> Params:
    """The running statistics that normalise queries after so many steps.

    Args:
        steps: how many; beyond those trained with, the last.
        params: all meta-parameters.

    Returns:
        ``LAYER.running_mean`` and ``LAYER.running_var``, ``[channels]``.
    """
    stacks = {n.removeprefix(GATHERED): p for n, p in params.items() if n.startswith(GATHERED) and n != COUNT}
    return {n: p[Inner.place(steps, p)] for n, p in stacks.items()}


@torch.no_grad()
def gather(model: Functional, inner: Inner, params: Params, batch: TaskBatch) -> Params:
    """Move the running statistics towards those of some tasks.

    The inner loop is run for the first of the tasks, and what normalises its query set after each step is noted.

    Args:
        model: the network.
        inner: the inner loop.
        params: all meta-parameters; left as they are.
        batch: the tasks.

    Returns:
        The new statistics and count, named as in ``params``. They are linear in the tasks', so that the mean over
        ranks is that of all their tasks.
    """
    own, few = network(params), batch[:TASKS]
    path = adapt(inner, params, few.support_x, few.support_y)
    seen = [_of_queries(model, inner, own, k, adapted, few) for k, adapted in enumerate(path)]
    rate = torch.clamp(1 / (params[COUNT] + 1), min=MEMORY)
    found = {GATHERED + n: torch.stack([at[n] for at in seen]) for n in seen[0]}
    return {n: torch.lerp(params[n], v, rate) for n, v in found.items()} | {COUNT: params[COUNT] + 1}


def _of_queries(model: Functional, inner: Inner, own: Params, k: int, adapted: Params, tasks: TaskBatch) -> Params:
    """The mean over tasks of what normalises their queries after k steps."""
    stacked = k > 0 or inner.begin is not None
    found: list[dict[str, Tensor]] = []
    for task in range(tasks.tasks):
        here = inner.after(k, own) | {n: p[task] if stacked else p for n, p in adapted.items()}
        counted = labels_of(tasks.query_y[task]) != IGNORE if tasks.ragged else None
        found.append(model.statistics(here, tasks.query_x[task], counted))
    return {n: torch.stack([one[n] for one in found]).mean(0) for n in found[0]}
