"""Words and a vector each, from whatever has learned them."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from metaft.errors import MetaftError


@dataclass(frozen=True)
class WordVectors:
    """Words and a vector each.

    Args:
        words: all different.
        vectors: ``[words, size]``, float.
        name: what they were asked for as.
        facts: what there is to know of how they were made, as plain JSON values.

    Raises:
        MetaftError: if there are not as many of both, or a vector is not finite.
    """

    words: tuple[str, ...] = field(repr=False)
    vectors: Tensor = field(repr=False)
    name: str
    facts: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.words) != len(self.vectors):
            raise MetaftError(f"{self.name} has {len(self.words)} words and {len(self.vectors)} vectors")
        if not torch.isfinite(self.vectors).all():
            raise MetaftError(f"{self.name} has a vector that is not finite; train it anew")

    @functools.cached_property
    def rows(self) -> dict[str, int]:
        """Word → its row."""
        return {word: row for row, word in enumerate(self.words)}

    @functools.cached_property
    def in_lower_case(self) -> bool:
        """Whether no word has a capital letter, so that other words are to be folded likewise."""
        return all(word == word.lower() for word in self.words)

    def find(self, words: Sequence[str]) -> list[int]:
        """The rows of words, their case folded where no word here has a capital.

        Args:
            words: any words.

        Returns:
            As many rows; −1 for a word that is not known.
        """
        return [self.rows.get(word.lower() if self.in_lower_case else word, -1) for word in words]
