"""A batch of few-shot tasks: a support and a query set each, tasks on the leading axis."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from metaft.errors import MetaftError

IGNORE = -100
"""The label of a padded example (torch's ``ignore_index``): no loss, statistic or score takes notice of it."""


@dataclass(frozen=True)
class TaskBatch:
    """Support and query sets of several tasks, ``[tasks, examples, ...]`` each.

    Where tasks differ in ways or shots, the smaller ones are padded with examples labelled ``IGNORE``.

    Args:
        support_x: ``[tasks, support, *input]``.
        support_y: ``[tasks, support]`` (int64 class labels) or ``[tasks, support, outputs]`` (targets).
        query_x: ``[tasks, query, *input]``.
        query_y: like ``support_y``, for the query set.

    Raises:
        MetaftError: if the leading axes do not agree.
    """

    support_x: Tensor
    support_y: Tensor
    query_x: Tensor
    query_y: Tensor

    def __post_init__(self) -> None:
        shapes = {name: tuple(t.shape) for name, t in zip(FIELDS, self.tensors(), strict=True)}
        same_tasks = len({shape[:1] for shape in shapes.values()}) == 1
        if (
            not same_tasks
            or min(len(shape) for shape in shapes.values()) < 2
            or shapes["support_x"][1] != shapes["support_y"][1]
            or shapes["query_x"][1] != shapes["query_y"][1]
        ):
            raise MetaftError(f"a TaskBatch needs tensors [tasks, examples, ...] that agree, got {shapes}")

    def tensors(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The four tensors, in the order of the constructor."""
        return self.support_x, self.support_y, self.query_x, self.query_y

    @property
    def tasks(self) -> int:
        """How many tasks the batch holds."""
        return self.support_x.shape[0]

    @property
    def ragged(self) -> bool:
        """Whether some examples are padding, so that tasks differ in ways or shots."""
        labels = (self.support_y, self.query_y)
        return any(not y.is_floating_point() and bool((y == IGNORE).any()) for y in labels)

    def to(self, device: torch.device | str) -> TaskBatch:
        """The same batch on another device."""
        return TaskBatch(*(t.to(device) for t in self.tensors()))

    def __getitem__(self, tasks: slice) -> TaskBatch:
        return TaskBatch(*(t[tasks] for t in self.tensors()))


FIELDS = ("support_x", "support_y", "query_x", "query_y")
