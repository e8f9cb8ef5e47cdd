"""What the caller's loss and tasks are is looked at once, where they meet the engine for the first time."""

from __future__ import annotations

import warnings
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.func import vjp

from metaft.elementary.mode import Elementary
from metaft.errors import MetaftError
from metaft.inner.adapt import network
from metaft.inner.objectives import Loss
from metaft.inner.rules import Params
from metaft.kept import kept
from metaft.outer.problem import QueryLoss
from metaft.outer.refusals import refusal
from metaft.tasks.batch import TaskBatch
from metaft.tasks.check import require_data


def require_problem(loss: Loss, query_loss: QueryLoss | None, params: Params, batch: TaskBatch, whole: bool) -> None:
    """Refuse tasks and a loss that no meta-gradient can be made of, once for each loss and shape of tasks.

    Args:
        loss: ``loss(params, x, y) → scalar``, the loss of one task's examples.
        query_loss: ``query_loss(params, support_x, support_y, query_x, query_y) → scalar``, where it is another.
        params: the meta-parameters.
        batch: the tasks.
        whole: whether ``params`` has all that the loss needs; it is only run if so.

    Raises:
        MetaftError: naming what is wrong, and the task.
    """
    # A method is another object each time it is asked for; what stays is the object that it is of, and its function.
    seen: set[object] = kept(loss).once(require_problem, set)
    losses = tuple(id(getattr(of, "__func__", of)) for of in (loss, query_loss))
    looked = losses, tuple((t.shape[1:], t.dtype) for t in batch.tensors()), tuple(params)
    if looked in seen or not batch.tasks:
        return
    require_data(batch)
    if whole:
        support, query = ((batch.support_x[0], batch.support_y[0]), (batch.query_x[0], batch.query_y[0]))
        asked = loss if query_loss is None else partial(_of_queries, query_loss, support)
        for part, of, (x, y) in (("support", loss, support), ("query", asked, query)):
            if len(x):
                _look(of, params, x, y, part)
    seen.add(looked)


def _of_queries(query_loss: QueryLoss, support: tuple[Tensor, Tensor], params: Params, x: Tensor, y: Tensor) -> Tensor:
    """A query loss as one of the query set alone."""
    return query_loss(params, *support, x, y)


def _value(loss: Loss, params: Params, x: Tensor, y: Tensor) -> tuple[Any, bool]:
    """What the loss gives, and whether it depends on the parameters; nothing of the caller's is changed in place."""
    found: list[Any] = []

    def run(params: Params) -> Tensor:
        with Elementary():
            value = loss(params, x, y)
        found.extend((value, isinstance(value, Tensor) and value.requires_grad))
        return value if found[1] and value.is_floating_point() else torch.zeros(())

    vjp(run, params)
    return found[0], found[1]


def _look(loss: Loss, params: Params, x: Tensor, y: Tensor, part: str) -> None:
    leaves = {n: p.detach() for n, p in network(params).items()}
    given = ", ".join(
        f"{name} {str(t.dtype).removeprefix('torch.')} {list(t.shape)}" for name, t in (("x", x), ("y", y))
    )
    with torch.random.fork_rng(devices=[]), torch.enable_grad(), warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            value, tracked = _value(loss, leaves, x, y)
        except MetaftError:
            raise
        except Exception as error:
            if refusal(error) is not error:
                return  # whether it can be differentiated at all is for the engine to say
            raise MetaftError(
                f"the loss fails on the {part} set of task 0 ({given}): {type(error).__name__}: {error}"
            ) from error
    for warning in said:
        if "Using a target size" in str(warning.message):  # torch's word for targets that are broadcast
            raise MetaftError(
                f"the loss compares answers and targets of different shapes on the {part} set of task 0 ({given}), so "
                "that each answer meets every target; give targets [tasks, examples, outputs]"
            )
        warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
    wanted = "a loss must be a real scalar tensor, the mean over a task's examples"
    if not isinstance(value, Tensor):
        raise MetaftError(f"the loss of task 0 is {type(value).__name__}; {wanted}")
    if value.dim() or not value.is_floating_point():
        raise MetaftError(
            f"the loss of task 0 is {str(value.dtype).removeprefix('torch.')} {list(value.shape)}; {wanted}"
        )
    if leaves and not tracked:
        raise MetaftError(
            "the loss of task 0 has no gradient towards the parameters it is given: does it use them, and no detach(), "
            "no_grad(), item() or numpy()?"
        )
