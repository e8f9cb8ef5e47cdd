"""A frozen network whose words a language model learns from."""

from __future__ import annotations

import copy
import hashlib
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

PLACES = 2**9
"""Of passages that it answers for at once: scores of all words at each take room."""


class WordTeacher:
    """What a network says of words, in evaluation mode.

    Args:
        model: has ``words(ids) → scores [examples, places, vocabulary]``; copied.
        name: as it was asked for.
        vocabulary: how many of its words there are; a matrix may have further rows that stand for none. All if None.
    """

    def __init__(self, model: nn.Module, name: str, vocabulary: int | None = None) -> None:
        self.name, self.vocabulary = name, vocabulary
        self._model: Any = copy.deepcopy(model).eval().requires_grad_(False)

    @torch.no_grad()
    def __call__(self, ids: Tensor, asked: Tensor) -> Tensor:
        """Scores of words where they are asked for.

        Args:
            ids: ``int64 [passages, places]``, 0 for padding.
            asked: ``bool [passages, places]``.

        Returns:
            ``[asked places, vocabulary]``.
        """
        model, size = self._model.to(ids.device), max(PLACES // ids.shape[-1], 1)
        parts = zip(ids.split(size), asked.split(size), strict=True)
        return torch.cat([model.words(some)[here][..., : self.vocabulary] for some, here in parts])

    @cached_property
    def digest(self) -> str:
        """A sha256 over structure, parameters and buffers."""
        total = hashlib.sha256(repr(self._model).encode())
        for name, value in sorted([*self._model.named_parameters(), *self._model.named_buffers()]):
            total.update(f"{name}{value.dtype}{tuple(value.shape)}".encode())
            total.update(value.cpu().contiguous().flatten().view(torch.uint8).numpy().data)
        return total.hexdigest()

    def describe(self) -> dict[str, object]:
        """What identifies it."""
        return {"teacher": self.digest}
