"""Sinusoid regression (Finn et al. 2017, §5.1): y = A·sin(x − φ)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from metaft.errors import MetaftError
from metaft.tasks.batch import TaskBatch
from metaft.tasks.family import Kind
from metaft.tasks.random import generator

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
        if self.shots < 1 or self.queries < 1:
            raise MetaftError(f"shots and queries must be at least 1, not shots={self.shots}, queries={self.queries}")

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
        points = self.shots + self.queries
        draw = generator(self.seed, f"sinusoid/{self.split}", index).random((tasks, points + 2), dtype=np.float32)
        amplitude = AMPLITUDE[0] + (AMPLITUDE[1] - AMPLITUDE[0]) * draw[:, :1]
        phase = PHASE[0] + np.float32(PHASE[1] - PHASE[0]) * draw[:, 1:2]
        point = DOMAIN[0] + (DOMAIN[1] - DOMAIN[0]) * draw[:, 2:]
        y = torch.from_numpy(amplitude * np.sin(point - phase)).unsqueeze(-1)
        x = torch.from_numpy(point).unsqueeze(-1)
        if self.tell:
            told = torch.from_numpy(np.concatenate([amplitude, phase], axis=1))
            x = torch.cat([x, told[:, None].expand(tasks, points, 2)], dim=-1)
        s = self.shots
        return TaskBatch(x[:, :s], y[:, :s], x[:, s:], y[:, s:])

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
