"""One meta-gradient: all tasks of a batch at once, by the estimator, engine and number of workers of choice."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import torch
from torch import Tensor

from metaft.errors import MetaftError, nearest
from metaft.inner.adapt import Loss
from metaft.inner.rules import Params, Rule
from metaft.outer import compiled
from metaft.outer.adjoint import QueryLoss, exact
from metaft.outer.chunks import map_chunks
from metaft.outer.first_order import first_order
from metaft.tasks.batch import TaskBatch


class Estimator(Protocol):
    """How the outer gradient is obtained: query losses ``[tasks]`` and the gradient of their sum."""

    def __call__(
        self,
        loss: Loss,
        query_loss: QueryLoss,
        rule: Rule,
        steps: int,
        memory: str,
        params: Params,
        batch: TaskBatch,
    ) -> tuple[Tensor, Params]:
        """Estimate the sum over tasks of the meta-gradients."""
        ...


ESTIMATORS: dict[str, Estimator] = {"exact": exact, "first-order": first_order}
MEMORY = ("flat", "graph")
ENGINES = ("eager", "compile")


@dataclass(frozen=True)
class MetaGradient:
    """What one evaluation of the meta-gradient gives.

    Args:
        loss: the mean query loss after adapting, a scalar.
        grads: its gradient, a dictionary like the meta-parameters.
        losses: the query loss of each task, ``[tasks]``.
    """

    loss: Tensor
    grads: Params
    losses: Tensor


def meta_gradient(
    loss: Loss,
    params: Params,
    batch: TaskBatch,
    *,
    rule: Rule,
    steps: int,
    estimator: str = "exact",
    memory: str = "flat",
    query_loss: QueryLoss | None = None,
    engine: str = "eager",
    workers: int = 1,
    chunk: int | None = None,
) -> MetaGradient:
    """Differentiate the mean query loss after K inner steps with respect to the initial parameters.

    Args:
        loss: ``loss(params, x, y) → scalar``, the loss of one task's examples.
        params: the meta-parameters, ``dict[str, Tensor]``.
        batch: the tasks, on a leading axis.
        rule: the inner rule, ``metaft.SGD(lr=0.01)`` for instance.
        steps: inner steps K ≥ 0.
        estimator: "exact" (full Hessian) or "first-order".
        memory: "flat" (inner steps are recomputed in the reverse pass: activations do not grow with K) or "graph".
        query_loss: ``query_loss(params, support_x, support_y, query_x, query_y)``, where the query loss is not just
            ``loss`` on the query set (batch norm in inductive mode, say).
        engine: "eager", or "compile" (torch.compile; worth its seconds in a loop).
        workers: threads among which the chunks of tasks are divided; the result does not depend on it. With more
            than one, ``loss`` must be safe to call from several threads: ``metaft.models.Functional`` is,
            ``torch.func.functional_call`` on one module is not.
        chunk: tasks computed together; chosen from the shape of an example if None.

    Returns:
        Loss, gradients and the loss of each task.

    Raises:
        MetaftError: if an option is unknown or steps < 0.
    """
    _check("estimator", estimator, ESTIMATORS)
    _check("memory", memory, MEMORY)
    _check("engine", engine, ENGINES)
    if steps < 0:
        raise MetaftError(f"inner steps must be 0 or more, not {steps}")
    if workers < 1:
        raise MetaftError(f"workers must be 1 or more, not {workers}")

    partial_sum = _partial_sum(loss, query_loss, rule, steps, ESTIMATORS[estimator], memory)  # type: ignore[arg-type]
    if engine == "compile":
        partial_sum = compiled.compile_if_possible(partial_sum)

    parts = map_chunks(lambda c: partial_sum(params, *c.tensors()), batch, workers, chunk)
    losses = parts[0][0] if len(parts) == 1 else torch.cat([part[0] for part in parts])
    grads = {name: sum((p[1][name] for p in parts[1:]), parts[0][1][name]) / batch.tasks for name in params}
    return MetaGradient(losses.mean(), grads, losses)


PartialSum = Callable[[Params, Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Params]]


@lru_cache(maxsize=64)
def _partial_sum(
    loss: Loss, query_loss: QueryLoss | None, rule: Rule, steps: int, estimator: Estimator, memory: str
) -> PartialSum:
    """The estimator with its settings bound, one object a setting, so that compiling it once is enough."""

    def on_query_alone(
        params: Params, support_x: Tensor, support_y: Tensor, query_x: Tensor, query_y: Tensor
    ) -> Tensor:
        return loss(params, query_x, query_y)

    asked = query_loss or on_query_alone

    def partial_sum(
        params: Params, support_x: Tensor, support_y: Tensor, query_x: Tensor, query_y: Tensor
    ) -> tuple[Tensor, Params]:
        batch = TaskBatch(support_x, support_y, query_x, query_y)
        return estimator(loss, asked, rule, steps, memory, params, batch)

    return partial_sum


def _check(what: str, given: str, known: Collection[str]) -> None:
    if given not in known:
        raise MetaftError(f"unknown {what} {given!r}{nearest(given, known)}")
