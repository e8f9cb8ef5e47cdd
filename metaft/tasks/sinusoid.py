"""Sinusoid regression (Finn et al. 2017, §5.1): y = A·sin(x − φ)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from metaft.seeds import require_seed
from metaft.tasks.batch import TaskBatch
from metaft.tasks.family import Kind
from metaft.tasks.random import generator
from metaft.validate import require_count

AMPLITUDE = (0.1, 5.0)
PHASE = (0.0, np.pi)
DOMAIN = (-5.0, 5.0)


@dataclass(frozen=True)
class Sinusoids:
    """Sine waves with A ∈ [0.1, 5], φ ∈ [0, π], sampled at x ∈ [−5, 5], all uniform.

    Args:
        shots: support points a task.
        queries: query points a task.
        seed: which sequence of tasks.
        split: names the sequence too; all splits draw from the same distribution.
        tell: append (A, φ) to every input, which turns the family into the oracle's.
    """

    shots: int = 10
    queries: int = 10
    seed: int = 0
    split: str = "train"
    tell: bool = False
    kind: ClassVar[Kind] = "regression"
    outputs: ClassVar[int] = 1

    def __post_init__(self) -> None:
        require_seed(self.seed)
        require_count(self.shots, "shots", 1)
        require_count(self.queries, "queries", 1)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """(1,): the point x; (3,) for the oracle, which is told amplitude and phase."""
        return (3,) if self.tell else (1,)

    def batch(self, index: int, tasks: int) -> TaskBatch:
        """Draw the index-th batch of waves; pure in (seed, split, index, tasks).

        Args:
            index: which batch.
            tasks: how many waves.

        Returns:
            float32 inputs and targets, ``[tasks, points, 1]``.
        """
        return self.batches_from(index, 1, tasks)[0]

    def batches_from(self, start: int, count: int, tasks: int) -> list[TaskBatch]:
        """Draw several batches in a row, each from its own stream; together they take little longer than one.

        Args:
            start: the index of the first.
            count: how many batches.
            tasks: of each.

        Returns:
            What ``batch`` gives for each.
        """
        points, s = self.shots + self.queries, self.shots
        streams = (generator(self.seed, f"sinusoid/{self.split}", start + i) for i in range(count))
        draw = np.stack([stream.random((tasks, 2 + points), dtype=np.float32) for stream in streams])
        low, span = _ranges(points)
        drawn = low + span * draw
        amplitude, phase, x = drawn[..., :1], drawn[..., 1:2], drawn[..., 2:, None]
        y = (amplitude * np.sin(drawn[..., 2:] - phase))[..., None]
        if self.tell:
            told = np.broadcast_to(drawn[..., None, :2], (count, tasks, points, 2))
            x = np.concatenate([x, told], axis=-1)
        parts = (x[:, :, :s], y[:, :, :s], x[:, :, s:], y[:, :, s:])
        return [TaskBatch(*one) for one in zip(*(torch.from_numpy(p.copy()).unbind() for p in parts), strict=True)]

    def describe(self) -> dict[str, object]:
        """The settings that identify this family."""
        return {
            "family": "sinusoid",
            "dataset": "sinusoid",
            "split": self.split,
            "shots": self.shots,
            "queries": self.queries,
            "seed": self.seed,
            "tell": self.tell,
        }


@lru_cache(maxsize=16)
def _ranges(points: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Where amplitude, phase and every point begin, and how far they reach: ``[2 + points]`` each."""
    low, high = np.array([AMPLITUDE, PHASE, *[DOMAIN] * points]).T
    return low.astype(np.float32), (high - low).astype(np.float32)
