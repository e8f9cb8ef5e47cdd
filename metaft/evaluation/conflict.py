"""Whether tasks pull one backbone in the same direction: the cosine between their gradients."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import grad

from metaft.data.texts.labelled_texts import trimmed
from metaft.errors import MetaftError
from metaft.inner.batching import over_tasks
from metaft.inner.losses import cross_entropy
from metaft.inner.objectives import TaskLoss
from metaft.inner.rules import SGD, Params
from metaft.learners.fine_tune_steps import stage_path
from metaft.learners.task_network import TaskNetwork, with_task_head
from metaft.models.text_vector import reads_texts
from metaft.tasks.batch import TaskBatch
from metaft.validate import require_count

WHOLE = "all"
"""What the backbone's parameters together are called."""


@dataclass(frozen=True)
class Conflict:
    """How alike the tasks' gradients are.

    Args:
        tasks: how many.
        cosines: block → mean cosine over all pairs of tasks, in the order in which the blocks run, `WHOLE` the last;
            NaN for a block that fewer than two tasks have a gradient of.
    """

    tasks: int
    cosines: dict[str, float]


def conflict(
    model: nn.Module, batches: Iterable[TaskBatch], outputs: int, *, steps: int = 50, rate: float = 0.1
) -> Conflict:
    """The mean cosine between the gradients of tasks' support losses, by the backbone's parameters.

    Each task's head starts at zeros and is fitted to the support set first, by full-batch steps down its loss: before,
    the gradient of the backbone says nothing of the task. Tasks that pull apart (cosines about 0 or below) are better
    served by additions of their own than by one tuned backbone (Yu et al. 2020, "Gradient surgery", definition 1).

    Of n unit vectors with the sum s the mean cosine over pairs is (‖s‖² − n) / (n (n − 1)), so that one gradient is
    held at a time.

    Args:
        model: the network.
        batches: the tasks; labels, no values.
        outputs: classes of a task.
        steps: of the head.
        rate: of these steps.

    Returns:
        The cosines.

    Raises:
        MetaftError: if there are fewer than two tasks, or their answers are no classes.
    """
    require_count(steps, "steps of the head", 1)
    net = with_task_head(model, outputs, scope="all", head="zeros", seed=0, batch_norm="running")
    start = net.start(net.whole.params())
    body = set(net.in_body)
    blocks = {block: tuple(n for n in names if n in body) for block, names in net.layers.blocks().items()}
    blocks = {block: names for block, names in blocks.items() if names} | {WHOLE: net.in_body}
    sums = {block: {name: torch.zeros_like(start[name]) for name in names} for block, names in blocks.items()}
    counts, tasks = dict.fromkeys(blocks, 0), 0
    for gradient in _gradients(net, start, batches, steps, rate):
        tasks += 1
        for block, names in blocks.items():
            length = _length(gradient[name] for name in names)
            if not math.isfinite(length):
                raise MetaftError(f"the gradient of task {tasks} is not finite; fit the head at a lower rate")
            if length > 0:
                counts[block] += 1
                for name in names:
                    sums[block][name].add_(gradient[name], alpha=1 / length)
    if tasks < 2:
        raise MetaftError(f"{tasks} task: the cosine is one between tasks; give two or more")
    squares = {block: _length(sums[block].values()) ** 2 for block in blocks}
    return Conflict(tasks, {block: _mean(squares[block], counts[block]) for block in blocks})


def _gradients(
    net: TaskNetwork, start: Params, batches: Iterable[TaskBatch], steps: int, rate: float
) -> Iterator[Params]:
    """The gradient of each task, by name, where its head is fitted."""
    of_head = {name: start[name] for name in net.head.params()}
    of_body = {name: start[name] for name in net.in_body}
    texts = reads_texts(net.whole.module)
    for batch in batches:
        if batch.support_y.is_floating_point() or batch.ragged:
            raise MetaftError("gradients are held against each other for tasks of classes, all of the same size")
        for task in range(batch.tasks):
            x, y = batch.support_x[task : task + 1], batch.support_y[task : task + 1]
            x = trimmed(x) if texts else x
            with torch.no_grad():
                features = over_tasks(lambda one: net.body(start, one), (0,))(x)
            stacked = {name: value.unsqueeze(0) for name, value in of_head.items()}
            plan = [tuple(of_head)] * steps
            *_, (head, _) = stage_path(SGD(rate), TaskLoss(), y, False, net.head, of_head, stacked, plan, features)
            fitted = start | {name: value.squeeze(0) for name, value in head.items()}
            loss = lambda moved, one, truth, fitted=fitted: cross_entropy(net.whole(fitted | moved, one), truth)
            found = over_tasks(grad(loss), (None, 0, 0))(of_body, x, y)
            yield {name: value.squeeze(0) for name, value in found.items()}


def _length(parts: Iterable[Tensor]) -> float:
    return math.sqrt(sum(float(part.double().square().sum()) for part in parts))


def _mean(square: float, count: int) -> float:
    return (square - count) / (count * (count - 1)) if count > 1 else math.nan
