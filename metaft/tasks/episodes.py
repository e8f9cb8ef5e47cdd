"""N-way K-shot episodes over any labelled examples (Vinyals et al. 2016, §4.1)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar

import numpy as np
import torch

from metaft.data.examples import LabelledExamples
from metaft.errors import MetaftError
from metaft.seeds import require_seed
from metaft.tasks.batch import TaskBatch
from metaft.tasks.family import Kind
from metaft.tasks.random import generator
from metaft.validate import require_count

SORTED = 2048
"""In data sets whose largest class is no larger, examples are drawn by sorting keys: as all published tasks were."""


@dataclass(frozen=True)
class Episodes:
    """Balanced episodes: ``ways`` classes, ``shots`` support and ``queries`` query examples of each.

    Support and query are disjoint, labels are a random order of the classes, and examples of a class stand
    shuffled; all draws are index arithmetic, no loop over tasks.

    Args:
        images: the classes to draw from.
        ways: classes a task.
        shots: support examples a class.
        queries: query examples a class.
        seed: which sequence of tasks.
        dataset: the data set's name, for the record.
        split: the split's name, for the record; it also separates the random streams of splits.
        details: the data set's options, JSON-able, for the record.

    Raises:
        MetaftError: if the classes or their examples do not suffice.
    """

    images: LabelledExamples = field(repr=False)
    ways: int = 5
    shots: int = 1
    queries: int = 15
    seed: int = 0
    dataset: str = "images"
    split: str = "train"
    details: Mapping[str, object] = field(default_factory=dict, hash=False)
    kind: ClassVar[Kind] = "classification"

    def __post_init__(self) -> None:
        require_seed(self.seed)
        require_count(self.ways, "ways", 2)
        require_count(self.shots, "shots", 1)
        require_count(self.queries, "queries", 1)
        where = f"{self.dataset} ({self.split})"
        if self.ways > self.images.classes:
            raise MetaftError(f"{self.ways} ways asked for, but {where} has only {self.images.classes} classes")
        fewest = int(self.images.counts.min())
        if self.shots + self.queries > fewest:
            name, needed = self.images.names[int(self.images.counts.argmin())], self.shots + self.queries
            small = int((self.images.counts < needed).sum())
            option = f" (--min-examples {needed})" if "min_examples" in self.details else ""
            left_out = f", or leave out the {small} of {self.images.classes} classes of fewer than {needed} examples"
            raise MetaftError(
                f"{self.shots} shots + {self.queries} queries need {needed} examples a class, "
                f"but {where} has a class with only {fewest} ({name}): ask for fewer"
                f"{left_out + option if small < self.images.classes else ''}"
            )

    @property
    def outputs(self) -> int:
        """One score a way."""
        return self.ways

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Of an image ``(channels, height, width)``, of a text ``(places,)``, the longest's."""
        return self.images.input_shape

    @property
    def run_files(self) -> dict[str, str]:
        """What a run keeps beside its weights."""
        return self.images.run_files

    @cached_property
    def _largest(self) -> int:
        return int(self.images.counts.max())

    def indices(self, index: int, tasks: int) -> np.ndarray:
        """Choose the examples of the index-th batch.

        Args:
            index: which batch.
            tasks: how many tasks.

        Returns:
            ``int64 [tasks, ways, shots + queries]`` rows of the image tensor; the way is the label.
        """
        draw = generator(self.seed, f"{self.dataset}/{self.split}", index)
        chosen = self._classes(draw, tasks)
        starts, counts = self.images.starts.numpy()[chosen], self.images.counts.numpy()[chosen]
        rows = _distinct_within(draw, counts, self.shots + self.queries, self._largest)
        return starts[..., None] + rows

    def _classes(self, draw: np.random.Generator, tasks: int) -> np.ndarray:
        """The classes of each task in random order, ``int64 [tasks, ways]``."""
        return distinct(draw, tasks, self.images.classes, self.ways)

    def batch(self, index: int, tasks: int) -> TaskBatch:
        """Draw the index-th batch of episodes; pure in (seed, split, index, tasks).

        Args:
            index: which batch.
            tasks: how many tasks.

        Returns:
            float32 images in [0, 1], ``[tasks, ways · shots, channels, height, width]`` (and ``ways · queries``), or
            texts ``int64 [tasks, ways · shots, places]``, with int64 labels; examples are ordered by shot, then way.
        """
        rows = np.ascontiguousarray(self.indices(index, tasks).swapaxes(1, 2)).reshape(tasks, -1)
        first, label = self.ways * self.shots, torch.arange(self.ways)
        support_x, query_x = self.images.take_apart(torch.from_numpy(rows), first)
        support_y, query_y = label.repeat(tasks, self.shots), label.repeat(tasks, self.queries)
        return TaskBatch(support_x, support_y, query_x, query_y, layout=self.images.layout)

    def describe(self) -> dict[str, object]:
        """The settings that identify this family."""
        return {
            **self.details,
            **self.images.details,
            "family": "episodes",
            "dataset": self.dataset,
            "split": self.split,
            "classes": self.images.classes,
            "ways": self.ways,
            "shots": self.shots,
            "queries": self.queries,
            "seed": self.seed,
        }


def distinct(draw: np.random.Generator, rows: int, population: int | np.ndarray, sample: int) -> np.ndarray:
    """Draw ``sample`` distinct numbers below ``population`` in each row, in random order, ``[rows, sample]``.

    The population may differ from row to row, ``[rows]``. Floyd's algorithm (Bentley & Floyd 1987), all rows at once:
    the cost is sample², whatever the population.
    """
    chosen = np.empty((rows, sample), dtype=np.int64)
    for i in range(sample):
        top = population - sample + i
        pick = (draw.random(rows) * (top + 1)).astype(np.int64)
        taken = (chosen[:, :i] == pick[:, None]).any(axis=1)
        chosen[:, i] = np.where(taken, top, pick)
    order = np.argsort(draw.random((rows, sample)), axis=1)
    return np.take_along_axis(chosen, order, axis=1)


def _distinct_within(draw: np.random.Generator, counts: np.ndarray, sample: int, largest: int) -> np.ndarray:
    """Draw ``sample`` distinct examples out of each class's count, in random order, ``[*counts.shape, sample]``.

    Where the largest class of the data set has more than ``SORTED`` examples the cost does not depend on it. Below, a
    key is drawn for every example and the smallest are taken, which is how published tasks were drawn.
    """
    if largest > SORTED and sample**2 <= largest:
        return distinct(draw, counts.size, counts.reshape(-1), sample).reshape(*counts.shape, sample)
    widest = int(counts.max())
    keys = draw.random((*counts.shape, widest), dtype=np.float32)
    if int(counts.min()) < widest:
        keys[np.arange(widest) >= counts[..., None]] = 2.0
    return np.argsort(keys, axis=-1)[..., :sample]
