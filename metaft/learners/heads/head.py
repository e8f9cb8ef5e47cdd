"""What a head is: it is fitted to the support features of all tasks at once, and scores their queries."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from metaft.errors import MetaftError
from metaft.tasks.batch import IGNORE


@dataclass(frozen=True)
class Fitted:
    """Heads fitted to the tasks of a batch.

    Args:
        scores: ``[tasks, queries, width] -> [tasks, queries, outputs]``; the class with the highest score is the
            answer, and a class without a support example scores the lowest finite number.
        numbers: how many numbers were fitted a task.
    """

    scores: Callable[[Tensor], Tensor]
    numbers: int


class Head(Protocol):
    """A way to tell classes apart by their features.

    ``fit(x, y, outputs)`` takes features ``[tasks, support, width]``, labels ``int64 [tasks, support]`` below
    ``outputs`` or `IGNORE` for padding, and answers with the fitted heads; each task's depends on that task alone.
    """

    def fit(self, x: Tensor, y: Tensor, outputs: int) -> Fitted:
        """Fit a head to each task."""
        ...

    def describe(self) -> dict[str, Any]:
        """Its settings, flat."""
        ...


def require_labels(y: Tensor, head: str) -> None:
    """Refuse real-valued targets.

    Args:
        y: the support set's labels.
        head: is named in the message.

    Raises:
        MetaftError: if the targets are not class labels.
    """
    if y.is_floating_point():
        raise MetaftError(f"{head} answers with classes; these tasks have real-valued targets")


def targets(y: Tensor, ways: int) -> tuple[Tensor, Tensor]:
    """Labels as one-hot rows, which are zero for padding.

    Args:
        y: ``int64 [tasks, support]``.
        ways: the number of classes.

    Returns:
        ``float64 [tasks, support, ways]``, and ``bool [tasks, ways]``: which classes have an example.
    """
    rows = one_hot(y.masked_fill(y == IGNORE, ways), ways + 1)[..., :ways].double()
    return rows, rows.any(-2)


def never(scores: Tensor, present: Tensor) -> Tensor:
    """Scores in which a class without a support example cannot win.

    Args:
        scores: ``[tasks, queries, ways]``.
        present: ``bool [tasks, ways]``.

    Returns:
        The scores, the lowest finite number where there is no example.
    """
    return scores.masked_fill(~present.unsqueeze(-2), torch.finfo(scores.dtype).min)


def linear(weight: Tensor, bias: Tensor, present: Tensor | None = None) -> Fitted:
    """Fitted linear heads.

    Args:
        weight: ``[tasks, width, outputs]``.
        bias: ``[tasks, outputs]``.
        present: as in `never`; all if None.

    Returns:
        The heads; scores have the features' type.
    """

    def scores(x: Tensor) -> Tensor:
        values = (x.to(weight.dtype) @ weight + bias.unsqueeze(-2)).to(x.dtype)
        return values if present is None else never(values, present)

    return Fitted(scores, weight[0].numel() + bias[0].numel())
