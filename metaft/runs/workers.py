"""Several threads share the tasks of one meta-update.

A second thread on other tasks buys more than one inside an operator.
"""

from __future__ import annotations

import copy
import itertools
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch
from torch import Tensor

from metaft.runs.contracts import Learner
from metaft.tasks.batch import TaskBatch


@dataclass(frozen=True)
class JoinedGradient:
    """Loss and gradient over all tasks, from those of the shares."""

    loss: Tensor
    grads: dict[str, Tensor]


def count(workers: str | int, kind: str, device: torch.device) -> int:
    """How many threads to use.

    Args:
        workers: "auto", or a number.
        kind: of the family; a regression's operators are too small to share.
        device: a GPU needs one.

    Returns:
        At least 1.
    """
    if workers != "auto":
        return int(workers)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return cores if kind == "classification" and device.type == "cpu" else 1


def replicas(learner: Learner, workers: int) -> list[Learner]:
    """One learner a thread, all with the same weights.

    ``torch.func.functional_call`` puts its parameters into the module while it runs, so a module cannot serve
    two threads at once; the copies have modules of their own and share the meta-parameters' memory.

    Args:
        learner: the original, the first of the list.
        workers: how many.

    Returns:
        The learners.
    """
    copies = [copy.deepcopy(learner) for _ in range(workers - 1)]
    for other in copies:
        other.params = learner.params
    return [learner, *copies]


def shared(learners: Sequence[Learner], pool: ThreadPoolExecutor, batch: TaskBatch) -> JoinedGradient:
    """A meta-gradient whose tasks are divided among threads.

    Args:
        learners: one a thread, from ``replicas``.
        pool: at least as many threads.
        batch: the tasks.

    Returns:
        What one learner would return for the whole batch, to rounding. Shares are summed in a fixed order, so
        the result depends on the number of workers only, never on their timing.
    """
    edges = [batch.tasks * i // len(learners) for i in range(len(learners) + 1)]
    shares = [batch[a:b] for a, b in itertools.pairwise(edges) if b > a]
    jobs = [pool.submit(one.meta_gradient, share) for one, share in zip(learners, shares, strict=False)]
    parts = [job.result() for job in jobs]
    loss, grads = torch.zeros_like(parts[0].loss), {k: torch.zeros_like(g) for k, g in parts[0].grads.items()}
    for part, share in zip(parts, shares, strict=True):
        weight = share.tasks / batch.tasks
        loss = loss + weight * part.loss
        torch._foreach_add_(list(grads.values()), [part.grads[name] for name in grads], alpha=weight)
    return JoinedGradient(loss, grads)
