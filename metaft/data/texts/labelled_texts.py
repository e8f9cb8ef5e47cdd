"""Labelled texts, class by class; and the same as numbers of words in one packed tensor."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import islice
from typing import ClassVar

import torch
from torch import Tensor

from metaft.data.examples import LabelledExamples
from metaft.data.layout import Layout
from metaft.errors import MetaftError

Text = str | tuple[str, str]
"""A text, or two of which a class tells how they stand to each other."""
PADDING = 0
"""The number that stands for no word; no answer depends on how many of them there are."""
LENGTHS = (8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 2048, 4096)
"""To which of these a batch is padded, so that little is compiled."""
PLACES = 2**13
"""Of texts that a network is given at once where no gradient is asked: it bounds memory."""


@dataclass(frozen=True)
class LabelledTexts:
    """Texts of one split, the examples of a class lying side by side.

    Args:
        texts: all of them.
        counts: how many consecutive texts belong to each class, in order.
        names: one name a class, unique.
        groups: of each class, such as its domain; empty where there are none.
        shared: whether all splits have the same classes, and differ by examples.

    Raises:
        MetaftError: if they do not fit together, or a text is empty.
    """

    texts: tuple[Text, ...]
    counts: tuple[int, ...]
    names: tuple[str, ...]
    groups: tuple[str, ...] = ()
    shared: bool = False

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
        at = next((i for i, text in enumerate(self.texts) if not all(part.strip() for part in parts_of(text))), None)
        if at is not None:
            raise MetaftError(f"text {at} (of class {self.class_of(at)!r}) is empty; remove it")

    @classmethod
    def of(
        cls, classes: Mapping[str, Sequence[Text]], groups: Mapping[str, str] | None = None, shared: bool = False
    ) -> LabelledTexts:
        """Put texts together, class by class.

        Args:
            classes: class → its texts.
            groups: class → its group; None where there are none.
            shared: as for the class.

        Returns:
            The same, classes in their order.
        """
        texts = tuple(text for own in classes.values() for text in own)
        told = tuple(groups[name] for name in classes) if groups else ()
        return cls(texts, tuple(map(len, classes.values())), tuple(classes), told, shared)

    def by_class(self) -> dict[str, list[Text]]:
        """Class → its texts."""
        rows = iter(self.texts)
        return {name: list(islice(rows, count)) for name, count in zip(self.names, self.counts, strict=True)}

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
        counts = tuple(self.counts[places[name]] for name in names)
        return LabelledTexts(texts, counts, tuple(names), groups, self.shared)


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
        shared: whether all splits have the same classes, and differ by examples.
        tokenizer: as JSON, for the runs that are trained on them; empty if nobody says it.
        most: how many words a text may have, and so how many places; None for any number.
        texts: the texts themselves; empty if nobody says them.
    """

    ids: Tensor
    offsets: Tensor
    counts: Tensor
    names: tuple[str, ...]
    vocabulary: int
    words: str
    groups: tuple[str, ...] = ()
    shared: bool = False
    tokenizer: str = field(default="", repr=False)
    most: int | None = None
    texts: tuple[Text, ...] = field(default=(), repr=False)
    layout: ClassVar[Layout] = "sequences"

    @cached_property
    def lengths(self) -> Tensor:
        """``int64 [examples]``: words in each text."""
        return self.offsets.diff()

    @property
    def input_shape(self) -> tuple[int, ...]:
        """``(places,)``, of the longest text."""
        return (padded_length(int(self.lengths.max()), self.most),)

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
        places = torch.arange(padded_length(int(lengths.max()) if lengths.numel() else 1, self.most))
        found = self.ids[(begins + places).clamp(max=len(self.ids) - 1)].long()
        return found.masked_fill(places >= lengths, PADDING)

    def portions(self, most: int) -> list[Tensor]:
        """As `LabelledExamples`: texts of like length together, no more than `PLACES` in a portion."""
        order = self.lengths.argsort(stable=True)
        places = [padded_length(words, self.most) for words in self.lengths[order].tolist()]
        found, end = list[Tensor](), len(order)
        while end:  # from the longest, so that a portion's first text says how many fit
            begin = max(end - min(most, max(PLACES // places[end - 1], 1)), 0)
            found.append(order[begin:end])
            end = begin
        return found

    def keep(self, rows: Tensor, counts: Tensor) -> LabelledTokens:
        """As `LabelledExamples`."""
        begins, lengths = self.offsets[rows], self.lengths[rows]
        offsets = torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])
        text = torch.repeat_interleave(torch.arange(len(rows)), lengths)
        places = torch.arange(int(offsets[-1])) - offsets[text] + begins[text]
        texts = tuple(self.texts[row] for row in rows.tolist()) if self.texts else ()
        return replace(self, ids=self.ids[places], offsets=offsets, counts=counts, texts=texts)

    def take_apart(self, rows: Tensor, first: int) -> tuple[Tensor, Tensor]:
        """As `LabelledExamples`: padded together, so that support and query set can stand in one tensor."""
        found = self.take(rows)
        return found[:, :first].contiguous(), found[:, first:].contiguous()

    @property
    def details(self) -> dict[str, object]:
        """How many words there are, what their numbers mean, and whether other splits have the same classes."""
        told: dict[str, object] = {"vocabulary": self.vocabulary, "words": self.words}
        return {**told, "shared_classes": True} if self.shared else told

    @property
    def run_files(self) -> dict[str, str]:
        """The tokenizer, as a run keeps it."""
        return {"tokenizer.json": self.tokenizer} if self.tokenizer else {}

    @cached_property
    def digest(self) -> str:
        """A sha256 over classes, their sizes and all words, 64 hexadecimal digits."""
        total = hashlib.sha256(json.dumps([self.names, self.counts.tolist(), self.vocabulary]).encode())
        for part in (self.ids, self.offsets):
            total.update(part.contiguous().numpy().data)
        return total.hexdigest()


def parts_of(text: Text) -> tuple[str, ...]:
    """The one string of a text, or the two of a pair."""
    return (text,) if isinstance(text, str) else text


def padded_length(words: int, most: int | None = None) -> int:
    """The number of places for so many words: one of ``LENGTHS``, so that shapes are few, or the most that may be."""
    length = next((length for length in LENGTHS if length >= words), words)
    return length if most is None else min(length, most)


def trimmed(ids: Tensor) -> Tensor:
    """Texts without the places that are padding in all of them.

    Args:
        ids: ``int64 [..., places]``, padding at the end.

    Returns:
        The same, of as many places as the longest has words; of one at least.
    """
    words = (ids != PADDING).flatten(0, -2).any(0)
    return ids[..., : int(words.nonzero().max()) + 1 if bool(words.any()) else 1]


def together(parts: Sequence[LabelledTexts]) -> LabelledTexts:
    """The classes of several splits in one; those that are in all of them with the examples of all.

    Args:
        parts: the splits.

    Returns:
        All of their texts.
    """
    classes: dict[str, list[Text]] = {}
    groups: dict[str, str] = {}
    for part in parts:
        for name, texts in part.by_class().items():
            classes.setdefault(name, []).extend(texts)
        groups |= dict(zip(part.names, part.groups, strict=False))
    return LabelledTexts.of(classes, groups, any(part.shared for part in parts))
