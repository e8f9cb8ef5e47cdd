"""Batches of what a language model is tuned by: answers, and pairs of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Self

import torch
from torch import Tensor

from metaft.data.texts.labelled_texts import PADDING
from metaft.tasks.batch import TaskBatch

Ids = Sequence[int]


@dataclass(frozen=True)
class Examples(TaskBatch):
    """Examples as tasks without support, each with tensors of its own beside the four of a batch."""

    def to(self, device: torch.device | str) -> Self:
        """The same batch on another device."""
        return self._each(lambda t: t.to(device))

    def __getitem__(self, tasks: slice) -> Self:
        return self._each(lambda t: t[tasks])

    def _each(self, change: Callable[[Tensor], Tensor]) -> Self:
        named: dict[str, Any] = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        named = {name: change(value) if isinstance(value, Tensor) else value for name, value in named.items()}
        return type(self)(**named)


@dataclass(frozen=True)
class Answers(Examples):
    """Texts of which an answer is to be said: ``query_x`` are words ``int64 [texts, places]``, ``query_y`` 0 for each.

    Args:
        asked: ``bool [texts, places]``: the answer's words.
        weight: ``[texts]``: what a text's mean loss counts, 1 on the mean over the batch.
        segments: ``int64 [texts, places]``, which of several texts in a row each word is of, see
            `metaft.preferences.packing`; None if there is one.
    """

    asked: Tensor = field(kw_only=True)
    weight: Tensor = field(kw_only=True)
    segments: Tensor | None = field(default=None, kw_only=True)


@dataclass(frozen=True)
class Pairs(Examples):
    """Two answers to a prompt each: ``query_x`` are words ``int64 [pairs, 1, 2, places]``, ``query_y`` ``[pairs, 1]``
    which of the two people like better.

    Args:
        asked: ``bool [pairs, 2, places]``: the answers' words.
        target: ``[pairs]``: the probability that the first answer is the better one, 1 where that is certain.
    """

    asked: Tensor = field(kw_only=True)
    target: Tensor = field(kw_only=True)

    @property
    def ids(self) -> Tensor:
        """``int64 [pairs, 2, places]``."""
        return self.query_x[:, 0]


@dataclass(frozen=True)
class Prompts(Examples):
    """Texts to go on with: ``query_x`` are words ``int64 [prompts, places]``, ``query_y`` 0 for each.

    Args:
        number: ``int64 [prompts]``: which of all prompts each is, by which its random numbers are drawn.
        update: ``int64 [prompts]``: which update of the run they are asked for in, the same for all.
    """

    number: Tensor = field(kw_only=True)
    update: Tensor = field(kw_only=True)


def padded(texts: Sequence[tuple[Ids, Ids]], places: int) -> tuple[Tensor, Tensor]:
    """Texts side by side.

    Args:
        texts: prompt and answer of each.
        places: of each row.

    Returns:
        Words ``int64 [texts, places]``, 0 for padding, and which are an answer's, ``bool`` likewise.
    """
    ids = torch.full((len(texts), places), PADDING)
    asked = torch.zeros((len(texts), places), dtype=torch.bool)
    for row, (prompt, answer) in enumerate(texts):
        whole = torch.tensor([*prompt, *answer])
        ids[row, : len(whole)] = whole
        asked[row, len(prompt) : len(whole)] = True
    return ids, asked
