"""A function of one task, run for all tasks of a batch; and images laid out in memory as convolutions like them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.func import vmap
from torch.utils._pytree import tree_leaves, tree_map

from metaft.elementary.mode import Elementary
from metaft.tasks.batch import TaskBatch


def over_tasks(
    one: Callable[..., Any], in_dims: tuple[int | None, ...], keys: Tensor | None = None, moving: bool = False
) -> Callable[..., Any]:
    """Lift a function of one task to all tasks at once.

    Args:
        one: takes tensors, or dictionaries of them, and returns such.
        in_dims: 0 for an argument that is stacked over tasks, None for one that all tasks share.
        keys: ``int64 [tasks]``, of the random numbers that the function draws; None where it draws none.
        moving: whether batch norm moves the running statistics that it is given.

    Returns:
        The lifted function; its results are stacked over tasks. A single task is computed as it is: its convolutions
        then are ordinary ones instead of grouped, and batch norm the fused one. What torch's layers get wrong under
        the engine's transforms is put right (see ``Elementary``).
    """

    def right(key: Tensor | None, *args: Any) -> Any:
        mode = Elementary(key, moving)
        with mode:
            found = one(*args)
        # Compiled code keeps its changes in place to itself, and its tracer does not follow a mode's own.
        return found if torch.compiler.is_dynamo_compiling() else mode.with_own(found)

    batched = vmap(right, (None if keys is None else 0, *in_dims), randomness="different")

    def lifted(*args: Any) -> Any:
        stacked = next(arg for arg, axis in zip(args, in_dims, strict=True) if axis == 0)
        if tree_leaves(stacked)[0].shape[0] > 1:
            return batched(keys, *args)
        own = (a if axis is None else tree_map(_only, a) for a, axis in zip(args, in_dims, strict=True))
        return tree_map(lambda v: v.unsqueeze(0), right(None if keys is None else keys.squeeze(0), *own))

    return lifted


def _only(stack: Tensor) -> Tensor:
    return stack.squeeze(0)


def images_on_cpu(batch: TaskBatch) -> bool:
    """Whether examples are images on a CPU, where tasks are best computed one by one.

    Batched, tasks with parameters of their own make grouped convolutions, which cannot keep channels last and leave the
    cache. Small networks, and GPUs, gain from batching.

    Args:
        batch: the tasks.
    """
    return batch.example_layout == "images" and batch.query_x.device.type == "cpu"


def is_heavy(batch: TaskBatch, params: dict[str, Tensor]) -> bool:
    """Whether one task alone keeps a processor busy: a transformer on token sequences, say.

    Batched, such products are slower on a CPU than one after another, and a second core does nothing.

    Args:
        batch: the tasks; a sequence counts as so many examples as it has places.
        params: of the network, by name.
    """
    x = batch.query_x
    if x.device.type != "cpu" or images_on_cpu(batch):
        return images_on_cpu(batch)
    rows = x.shape[1] * (x.shape[2] if batch.example_layout == "sequences" else 1)
    return rows * max((p.numel() for p in params.values() if p.dim() == 2), default=0) >= 2**23


def has_large_images(batch: TaskBatch) -> bool:
    """Whether tensors of more than 64 MiB are to be expected of tasks with such images.

    Args:
        batch: the tasks. An image of 64×64 or more counts as large whatever their number, so
            that all tasks of one data set are alike; smaller ones do if a layer of 32 channels makes 64 MiB of them.
    """
    if not images_on_cpu(batch):
        return False
    values = math.prod(batch.query_x.shape[3:])
    return values >= 64 * 64 or batch.query_x.shape[1] * values > 2**19  # a rank may have no task at all


def laid_out(params: dict[str, Tensor], batch: TaskBatch) -> tuple[dict[str, Tensor], TaskBatch]:
    """The same parameters and tasks, in the memory layout that suits the device.

    On a CPU convolutions of 64 channels are up to twice as quick with channels last, and max-pooling many times.

    Args:
        params: by name.
        batch: the tasks.

    Returns:
        Equal ones; images and convolutions with their channels last in memory, if examples are images on a CPU.
    """
    if not images_on_cpu(batch) or batch.query_x.dim() != 5:
        return params, batch
    support_x, query_x = channels_last(batch.support_x), channels_last(batch.query_x)
    return (
        {n: channels_last(p) if p.dim() == 4 else p for n, p in params.items()},
        replace(batch, support_x=support_x, query_x=query_x),
    )


def channels_last(x: Tensor) -> Tensor:
    """The same images with their channels last in memory.

    Args:
        x: ``[..., channels, height, width]``.

    Returns:
        An equal tensor of the same shape.
    """
    *before, channels, height, width = x.shape
    if x.stride(-3) == 1 and x.movedim(-3, -1).is_contiguous():
        return x
    # Written out: torch's own memory formats know four axes alone, and leave single channels as they are.
    out = torch.empty((*before, height, width, channels), dtype=x.dtype, device=x.device).movedim(-1, -3)
    return out.copy_(x)
