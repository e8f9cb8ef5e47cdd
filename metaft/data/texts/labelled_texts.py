"""Labelled texts, class by class; and the same as numbers of words in one packed tensor."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor

from metaft.data.examples import LabelledExamples
from metaft.data.layout import Layout
from metaft.errors import MetaftError

PADDING = 0
"""The number that stands for no word; no answer depends on how many of them there are."""
LENGTHS = (8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 2048, 4096)
"""To which of these a batch is padded, so that little is compiled."""


@dataclass(frozen=True)
class LabelledTexts:
    """Texts of one split, the examples of a class lying side by side.

    Args:
        texts: all of them.
        counts: how many consecutive texts belong to each class, in order.
        names: one name a class, unique.
        groups: of each class, such as its domain; empty where there are none.

    Raises:
        MetaftError: if they do not fit together, or a text is empty.
    """

    texts: tuple[str, ...]
    counts: tuple[int, ...]
    names: tuple[str, ...]
    groups: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if sum(self.counts) != len(self.texts) or len(self.counts) != len(self.names):
            raise MetaftError(
                f"{len(self.texts)} texts, class counts that add up to {sum(self.counts)} and {len(self.names)} class "
                "names do not fit together"
            )
        if self.groups and len(self.groups) != len(self.names):
            raise MetaftError(f"{len(self.groups)} groups for {len(self.names)} classes: expected one a class")
        if len(set(self.names)) != len(self.names):
            raise MetaftError("class names must be unique")
        at = next((i for i, text in enumerate(self.texts) if not text.strip()), None)
        if at is not None:
            raise MetaftError(f"text {at} (of class {self.class_of(at)!r}) is empty; remove it")

    def class_of(self, index: int) -> str:
        """The class of a text."""
        for name, count in zip(self.names, self.counts, strict=True):
            if index < count:
                return name
            index -= count
        raise IndexError(index)

    def select(self, names: Sequence[str]) -> LabelledTexts:
        """Keep some classes, in the order given.

        Args:
            names: of classes.

        Returns:
            A new set that holds just those classes.
        """
        ends = torch.tensor(self.counts).cumsum(0).tolist()
        spans = {n: (end - count, end) for n, count, end in zip(self.names, self.counts, ends, strict=True)}
        texts = tuple(text for name in names for text in self.texts[slice(*spans[name])])
        places = {name: place for place, name in enumerate(self.names)}
        groups = tuple(self.groups[places[name]] for name in names) if self.groups else ()
        return LabelledTexts(texts, tuple(self.counts[places[name]] for name in names), tuple(names), groups)


@dataclass(frozen=True)
class LabelledTokens(LabelledExamples):
    """Texts of one split as numbers of words, packed one behind the other.

    Args:
        ids: ``int32 [words]``, none of them ``PADDING``.
        offsets: ``int64 [examples + 1]``, where each text begins; the last is where the last one ends.
        counts: ``int64 [classes]``, how many consecutive texts belong to each class, in order.
        names: one name a class, unique.
        vocabulary: numbers are below this.
        words: a digest of what the numbers mean, the tokenizer's.
        groups: of each class, such as its domain; empty where there are none.
        tokenizer: as JSON, for the runs that are trained on them; empty if nobody says it.
    """

    ids: Tensor
    offsets: Tensor
    counts: Tensor
    names: tuple[str, ...]
    vocabulary: int
    words: str
    groups: tuple[str, ...] = ()
    tokenizer: str = field(default="", repr=False)
    layout: ClassVar[Layout] = "sequences"

    @cached_property
    def lengths(self) -> Tensor:
        """``int64 [examples]``: words in each text."""
        return self.offsets.diff()

    @property
    def input_shape(self) -> tuple[int, ...]:
        """``(places,)``, of the longest text."""
        return (padded_length(int(self.lengths.max())),)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def take(self, rows: Tensor) -> Tensor:
        """Some texts, padded to one length.

        Args:
            rows: ``int64 [...]``, places among the texts.

        Returns:
            ``int64 [..., places]``, as many places as the longest of them needs, or a few more.
        """
        begins, lengths = self.offsets[rows].unsqueeze(-1), self.lengths[rows].unsqueeze(-1)
        places = torch.arange(padded_length(int(lengths.max()) if lengths.numel() else 1))
        found = self.ids[(begins + places).clamp(max=len(self.ids) - 1)].long()
        return found.masked_fill(places >= lengths, PADDING)

    def take_apart(self, rows: Tensor, first: int) -> tuple[Tensor, Tensor]:
        """As `LabelledExamples`: padded together, so that support and query set can stand in one tensor."""
        found = self.take(rows)
        return found[:, :first].contiguous(), found[:, first:].contiguous()

    @property
    def details(self) -> dict[str, object]:
        """How many words there are, and what their numbers mean."""
        return {"vocabulary": self.vocabulary, "words": self.words}

    @property
    def files(self) -> dict[str, str]:
        """The tokenizer, as a run keeps it."""
        return {"tokenizer.json": self.tokenizer} if self.tokenizer else {}

    @cached_property
    def digest(self) -> str:
        """A sha256 over classes, their sizes and all words, 64 hexadecimal digits."""
        total = hashlib.sha256(json.dumps([self.names, self.counts.tolist(), self.vocabulary]).encode())
        for part in (self.ids, self.offsets):
            total.update(part.contiguous().numpy().data)
        return total.hexdigest()


def padded_length(words: int) -> int:
    """The number of places for so many words: one of ``LENGTHS``, so that shapes are few."""
    return next((length for length in LENGTHS if length >= words), words)
