"""Labelled examples, class by class: what few-shot tasks are drawn from, whatever an example is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import cached_property
from typing import ClassVar, Self

import torch
from torch import Tensor

from metaft.data.layout import Layout


class LabelledExamples(ABC):
    """Examples of one split in memory, those of a class lying side by side.

    Attributes:
        counts: ``int64 [classes]``, how many consecutive examples belong to each class, in order.
        names: one name a class, unique.
        layout: what an example is.
        shared: whether all splits have the same classes, and differ by examples.
    """

    counts: Tensor
    names: tuple[str, ...]
    layout: ClassVar[Layout]
    shared: bool = False

    @property
    @abstractmethod
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one example."""

    @abstractmethod
    def __len__(self) -> int:
        """How many examples there are."""

    @abstractmethod
    def take(self, rows: Tensor) -> Tensor:
        """Some examples as a network takes them.

        Args:
            rows: ``int64 [...]``, places among the examples.

        Returns:
            ``[..., *input_shape]``.
        """

    def take_apart(self, rows: Tensor, first: int) -> tuple[Tensor, Tensor]:
        """Some examples in two parts, each in one piece of memory.

        Args:
            rows: ``int64 [tasks, examples]``, places among the examples.
            first: how many of each task are in the first part.

        Returns:
            ``[tasks, first, *input]`` and the others; texts have one length in both.
        """
        return self.take(rows[:, :first]), self.take(rows[:, first:])

    def portions(self, most: int) -> list[Tensor]:
        """All examples in portions that a network can be given at once.

        Args:
            most: examples of a portion.

        Returns:
            ``int64 [portion]`` each, places among the examples, every one once.
        """
        return list(torch.arange(len(self)).split(most))

    def each(self, answer: Callable[[Tensor], Tensor], most: int) -> Tensor:
        """What a network says of all examples.

        Args:
            answer: ``[portion, *input] → [portion, outputs]``.
            most: examples of a portion.

        Returns:
            ``[examples, outputs]``, in the order of the examples.
        """
        portions = self.portions(most)
        found = torch.cat([answer(self.take(rows)) for rows in portions])
        return found[torch.cat(portions).argsort()]

    @property
    @abstractmethod
    def digest(self) -> str:
        """A sha256 over classes, their sizes and all examples, 64 hexadecimal digits."""

    @abstractmethod
    def keep(self, rows: Tensor, counts: Tensor) -> Self:
        """Some examples, filed under the same classes.

        Args:
            rows: ``int64 [kept]``, places among the examples, class by class.
            counts: ``int64 [classes]``, how many of them belong to each class.

        Returns:
            A new set of these.
        """

    @property
    def labels(self) -> Tensor:
        """``int64 [examples]``: the class of each."""
        return torch.repeat_interleave(torch.arange(self.classes), self.counts)

    @property
    def details(self) -> dict[str, object]:
        """What else identifies the examples, JSON-able."""
        return {}

    @property
    def run_files(self) -> dict[str, str]:
        """What a run that is trained on them keeps beside its weights: name → text."""
        return {}

    @cached_property
    def starts(self) -> Tensor:
        """``int64 [classes]``: the index of each class's first example."""
        return self.counts.cumsum(0) - self.counts

    @property
    def classes(self) -> int:
        """How many classes there are."""
        return len(self.names)
