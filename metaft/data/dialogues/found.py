"""What a file of dialogues held."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from metaft.data.dialogues.conversation import Example


@dataclass(frozen=True)
class Found:
    """The examples of a file.

    Args:
        examples: in the file's order.
        left_out: what those that are not among them do, in words → how many.
    """

    examples: tuple[Example, ...] = field(repr=False)
    left_out: Mapping[str, int] = field(default_factory=dict)
