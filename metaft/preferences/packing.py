"""Examples of unequal length in rows of one length, each seeing itself alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor


@dataclass(frozen=True)
class Packed:
    """Examples in rows.

    Args:
        ids: ``int64 [rows, length]``, 0 for padding.
        asked: ``bool [rows, length]``: which words are to be said, by the place before each.
        segments: ``int64 [rows, length]``: 1, 2, … for the examples of a row, 0 for padding; networks take them as
            ``model.last_states(ids, segments)``.
        owners: ``int64 [rows, length]``: which example a word is of, -1 for padding.
        examples: how many there are.
    """

    ids: Tensor = field(repr=False)
    asked: Tensor = field(repr=False)
    segments: Tensor = field(repr=False)
    owners: Tensor = field(repr=False)
    examples: int


def pack(examples: Sequence[tuple[Sequence[int], Sequence[bool]]], length: int) -> Packed:
    """Put examples (ids, asked mask) into rows by first-fit decreasing."""
    raise NotImplementedError


def log_probabilities(model: Any, packed: Packed) -> Tensor:
    """Σ log p over the asked words of each example, ``[examples]``, differentiable."""
    raise NotImplementedError
