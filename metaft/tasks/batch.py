"""A batch of few-shot tasks: a support and a query set each, tasks on the leading axis."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from metaft.data.layout import Layout, likeliest
from metaft.elementary import draws
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
        keys: ``int64 [tasks]``: of each task's random numbers (dropout's, say), see ``metaft.elementary.draws``. None
            where nothing is to be drawn.
        layout: what an example is; None where nobody says it (see `example_layout`).

    Raises:
        MetaftError: if the leading axes do not agree.
    """

    support_x: Tensor
    support_y: Tensor
    query_x: Tensor
    query_y: Tensor
    keys: Tensor | None = None
    layout: Layout | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        support_x, support_y, query_x, query_y = shapes = [t.shape for t in self.tensors()]
        agree = min(map(len, shapes)) >= 2 and support_x[:2] == support_y[:2] and query_x[:2] == query_y[:2]
        if not agree or support_x[0] != query_x[0]:
            given = {name: tuple(shape) for name, shape in zip(FIELDS, shapes, strict=True)}
            raise MetaftError(f"a TaskBatch needs tensors [tasks, examples, ...] that agree, got {given}")

    def tensors(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The four tensors, in the order of the constructor."""
        return self.support_x, self.support_y, self.query_x, self.query_y

    def parts(self) -> tuple[Tensor, ...]:
        """All that the constructor takes: the four tensors, and the keys if there are any."""
        return self.tensors() if self.keys is None else (*self.tensors(), self.keys)

    def with_keys(self, *seed: int) -> TaskBatch:
        """The same tasks with random numbers of their own.

        Args:
            seed: whole numbers that together say which: a seed and an iteration, for instance.

        Returns:
            The batch; task i draws the same numbers whatever the other tasks, workers or ranks.
        """
        return replace(self, keys=draws.keys(self.tasks, draws.stream(*seed), self.support_x.device))

    def drawn(self) -> TaskBatch:
        """The same tasks, with keys after torch's own generator if there are none: others at each call."""
        return self if self.keys is not None else self.with_keys(int(torch.randint(2**62, ())))

    def at_step(self, step: int) -> TaskBatch:
        """The same tasks with the random numbers of inner step 0, 1, …."""
        return self if self.keys is None else replace(self, keys=draws.at(self.keys, step))

    def after(self, steps: int) -> TaskBatch:
        """The same tasks with the random numbers of their queries after so many steps."""
        return self.at_step(-steps - 2)

    @property
    def example_layout(self) -> Layout:
        """What an example is, the likeliest by its axes if nobody has said it."""
        return self.layout or likeliest(self.query_x)

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
        return TaskBatch(*(t.to(device) for t in self.parts()), layout=self.layout)

    def __getitem__(self, tasks: slice) -> TaskBatch:
        return TaskBatch(*(t[tasks] for t in self.parts()), layout=self.layout)


FIELDS = ("support_x", "support_y", "query_x", "query_y")
