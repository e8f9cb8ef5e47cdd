"""Labelled examples, class by class: what few-shot tasks are drawn from, whatever an example is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cached_property
from typing import ClassVar

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
