"""What the caller's loss and tasks are is looked at once, where they meet the engine for the first time."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from metaft.errors import MetaftError
from metaft.inner.adapt import network
from metaft.inner.objectives import Loss
from metaft.inner.rules import Params
from metaft.tasks.batch import TaskBatch
from metaft.tasks.check import require_data

_SEEN: WeakKeyDictionary[Callable[..., Any], set[object]] = WeakKeyDictionary()


def require_problem(loss: Loss, params: Params, batch: TaskBatch, whole: bool) -> None:
    """Refuse tasks and a loss that no meta-gradient can be made of, once for each loss and shape of tasks.

    Args:
        loss: ``loss(params, x, y) → scalar``, the loss of one task's examples.
        params: the meta-parameters.
        batch: the tasks.
        whole: whether ``params`` has all that the loss needs; it is only run if so.

    Raises:
        MetaftError: naming what is wrong, and the task.
    """
    shapes = tuple((t.shape[1:], t.dtype) for t in batch.tensors()), tuple(params)
    try:
        seen = _SEEN.setdefault(loss, set())
    except TypeError:  # an object that cannot be told from others
        seen = set()
    if shapes in seen or not batch.tasks:
        return
    require_data(batch)
    if whole:
        for part, x, y in (
            ("support", batch.support_x, batch.support_y),
            ("query", batch.query_x, batch.query_y),
        ):
            if x.shape[1]:
                _look(loss, params, x[0], y[0], part)
    seen.add(shapes)


def _look(loss: Loss, params: Params, x: Tensor, y: Tensor, part: str) -> None:
    leaves = {n: p.detach().requires_grad_() if p.is_floating_point() else p for n, p in network(params).items()}
    given = ", ".join(
        f"{name} {str(t.dtype).removeprefix('torch.')} {list(t.shape)}" for name, t in (("x", x), ("y", y))
    )
    with torch.random.fork_rng(devices=[]), torch.enable_grad(), warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            value = loss(leaves, x, y)
        except MetaftError:
            raise
        except Exception as error:
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
    if leaves and not value.requires_grad:
        raise MetaftError(
            "the loss of task 0 has no gradient towards the parameters it is given: does it use them, and no detach(), "
            "no_grad(), item() or numpy()?"
        )
