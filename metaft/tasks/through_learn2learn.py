"""learn2learn's task sets as a task family."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from metaft.errors import MetaftError
from metaft.seeds import require_seed
from metaft.tasks.batch import TaskBatch
from metaft.tasks.family import Kind
from metaft.tasks.random import generator
from metaft.validate import require_count


@dataclass(frozen=True)
class Learn2LearnTasks:
    """Few-shot classification tasks drawn by a ``learn2learn.data.Taskset`` (``TaskDataset``) and its transforms.

    Its transforms choose ``shots + queries`` examples of each class (``NWays``, ``KShots`` or ``FusedNWaysKShots``),
    load them (``LoadData``) and number the classes from 0 (``RemapLabels``). Of a class's examples, in the order they
    come, the support set takes ``shots`` at equal distances: with as many queries as shots that is every other one,
    the split of learn2learn's examples; with one shot the first, as its ``partition_task`` does.

    Deviation: learn2learn draws from the global random states of Python, numpy and torch, and remembers the tasks of
    a finite task set in the order they were asked for. Here every task is drawn afresh from random states of its own,
    so that batches are pure in (seed, index); the global states are as before afterwards. A finite task set has
    ``num_tasks`` different tasks, which depend on the seed.

    Args:
        taskset: the task set.
        shots: support examples a class.
        queries: query examples a class.
        seed: which sequence of tasks.
        dataset: the data set's name, for the record.
        split: the split's name, for the record; it also separates the random streams of splits.

    Raises:
        MetaftError: if this is no task set, or its tasks are not such classification tasks.
    """

    taskset: Any = field(repr=False)
    shots: int = 1
    queries: int = 1
    seed: int = 0
    dataset: str = "learn2learn"
    split: str = "train"
    outputs: int = field(init=False)
    input_shape: tuple[int, ...] = field(init=False)
    kind: ClassVar[Kind] = "classification"

    def __post_init__(self) -> None:
        require_seed(self.seed)
        if not all(hasattr(self.taskset, name) for name in ("sample_task_description", "get_task", "num_tasks")):
            raise MetaftError(f"a learn2learn.data.Taskset is needed, not {type(self.taskset).__name__}")
        require_count(self.shots, "shots", 1)
        require_count(self.queries, "queries", 1)
        if any(isinstance(label, str) for label in self.taskset.dataset.labels):
            # learn2learn puts labels into a set, where the order of text differs from process to process.
            raise MetaftError(
                "the classes of this task set are labelled with text: number them, or no task is repeatable"
            )
        batch = self.batch(0, 1)
        object.__setattr__(self, "outputs", int(batch.support_y.max()) + 1)
        object.__setattr__(self, "input_shape", tuple(batch.support_x.shape[2:]))

    def batch(self, index: int, tasks: int) -> TaskBatch:
        """Draw the index-th batch of tasks; pure in (seed, split, index).

        Args:
            index: which batch.
            tasks: how many tasks.

        Returns:
            Inputs ``[tasks, ways · shots, *input]`` (and ``ways · queries``) as the task set's transforms leave them,
            with int64 labels.

        Raises:
            MetaftError: if a task is not made of ``shots + queries`` examples of each class 0 … ways − 1.
        """
        stream = f"learn2learn/{self.dataset}/{self.split}"
        seeds = generator(self.seed, stream, index).integers(2**32, size=(tasks, 2)).tolist()
        drawn = [self._task(self._choice(stream, choice), loading) for choice, loading in seeds]
        return TaskBatch(*(torch.stack(column) for column in zip(*drawn, strict=True)))

    def _choice(self, stream: str, seed: int) -> int:
        """The seed of a task's examples; of a finite task set there are only so many."""
        if self.taskset.num_tasks < 0:
            return seed
        return int(generator(self.seed, f"{stream}/tasks", seed % self.taskset.num_tasks).integers(2**32))

    def _task(self, choice: int, loading: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        with random_states(choice):
            examples = self.taskset.sample_task_description()
        if len({example.index for example in examples}) < len(examples):
            raise MetaftError(
                "this task set draws examples with replacement, so that a query may stand in the support set too: "
                "use KShots(..., replacement=False)"
            )
        with random_states(loading):
            x, y = self.taskset.get_task(examples)
        each = self.shots + self.queries
        if not torch.equal(y.unique(), torch.arange(ways := len(y.unique()))):
            raise MetaftError(
                f"labels 0 … {ways - 1} were expected of this task set, got {y.unique().tolist()}: "
                "add RemapLabels to its transforms"
            )
        if not (torch.bincount(y) == each).all():
            raise MetaftError(
                f"{self.shots} shots + {self.queries} queries need {each} examples a class, this task set gives "
                f"{torch.bincount(y).tolist()}: use KShots(..., k={each})"
            )
        if not x.is_floating_point():
            raise MetaftError(f"inputs of this task set are {x.dtype}: add a transform to float to its data set")
        place = (y[:, None] == y).tril(-1).sum(1)  # of each example among those of its class
        support = place * self.shots % each < self.shots
        return x[support], y[support], x[~support], y[~support]

    def describe(self) -> dict[str, object]:
        """The settings that identify this family."""
        transforms = self.taskset.task_transforms
        return {
            "family": "learn2learn",
            "dataset": self.dataset,
            "split": self.split,
            "transforms": "custom" if callable(transforms) else ", ".join(type(t).__name__ for t in transforms),
            "num_tasks": self.taskset.num_tasks,
            "classes": len(self.taskset.dataset.labels),
            "ways": self.outputs,
            "shots": self.shots,
            "queries": self.queries,
            "seed": self.seed,
        }


@contextmanager
def random_states(seed: int) -> Iterator[None]:
    """Seed the global random states of Python, numpy and torch (CPU) within a context, and restore them after it.

    Args:
        seed: below 2³².
    """
    python, old = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(old)
