"""Queries that are texts, answered with others of like length: less of what is computed is padding."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from metaft.data.texts.labelled_texts import PADDING, trimmed

TOGETHER = 25
"""Texts of a task that are answered together: a third of 5 ways × 15 queries."""


@dataclass(frozen=True)
class ByLength:
    """The texts of tasks in parts.

    Args:
        parts: ``int64 [tasks, part, places]`` each, from the shortest texts to the longest, without idle places.
        places: ``int64 [tasks, texts]``, where each text stands in the parts.
    """

    parts: tuple[Tensor, ...]
    places: Tensor

    @classmethod
    def of(cls, x: Tensor) -> Self:
        """Sort the texts of each task.

        Args:
            x: ``int64 [tasks, texts, places]``.
        """
        order = (x != PADDING).sum(-1).argsort(stable=True, dim=-1)
        rows = x.gather(1, order.unsqueeze(-1).expand_as(x))
        return cls(tuple(map(trimmed, rows.split(TOGETHER, dim=1))), order.argsort(-1))

    def answered(self, answer: Callable[[Tensor], Tensor]) -> Tensor:
        """Answers in the order of the texts.

        Args:
            answer: ``[tasks, part, places] → [tasks, part, outputs]``.

        Returns:
            ``[tasks, texts, outputs]``.
        """
        found = torch.cat([answer(part) for part in self.parts], dim=1)
        return found.gather(1, self.places.unsqueeze(-1).expand_as(found))
