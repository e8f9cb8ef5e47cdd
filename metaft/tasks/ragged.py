"""Episodes whose ways and shots are drawn task by task, padded to one shape."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from metaft.errors import MetaftError
from metaft.tasks.batch import IGNORE, TaskBatch
from metaft.tasks.episodes import Episodes
from metaft.tasks.random import generator


@dataclass(frozen=True)
class RaggedEpisodes(Episodes):
    """Episodes of ``fewest_ways`` to ``ways`` classes with ``fewest_shots`` to ``shots`` examples, uniform, per task.

    A task is an episode of the widest shape of which some examples are padding: black images labelled ``IGNORE``.
    All classes of a task have the same number of support examples. (Triantafillou et al. 2020, Meta-Dataset, vary
    ways and shots too, but draw shots class by class from an imbalanced distribution.)

    Args:
        fewest_ways: the least number of classes a task has, ``ways`` being the most.
        fewest_shots: the least number of support examples a class, ``shots`` being the most.

    Raises:
        MetaftError: as for episodes, or if a range is empty or begins below 2 ways or 1 shot.
    """

    fewest_ways: int = 5
    fewest_shots: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, fewest, most, least in (
            ("ways", self.fewest_ways, self.ways, 2),
            ("shots", self.fewest_shots, self.shots, 1),
        ):
            if not least <= fewest <= most:
                raise MetaftError(f"{name} = {fewest}-{most}: a range should rise, from {least} or more")

    def batch(self, index: int, tasks: int) -> TaskBatch:
        """Draw the index-th batch; pure in (seed, split, index, tasks).

        Args:
            index: which batch.
            tasks: how many tasks.

        Returns:
            As for episodes; where a task has no such way or shot, images are 0 and labels ``IGNORE``.
        """
        full = super().batch(index, tasks)
        draw = generator(self.seed, f"{self.dataset}/{self.split}/shape", index)
        ways = torch.from_numpy(draw.integers(self.fewest_ways, self.ways + 1, (tasks, 1)))
        shots = torch.from_numpy(draw.integers(self.fewest_shots, self.shots + 1, (tasks, 1)))
        shot = torch.arange(self.shots).repeat_interleave(self.ways)  # examples stand by shot, then way
        return TaskBatch(
            *_padded(full.support_x, full.support_y, (full.support_y < ways) & (shot < shots)),
            *_padded(full.query_x, full.query_y, full.query_y < ways),
            layout=full.layout,
        )

    def describe(self) -> dict[str, object]:
        """The settings that identify this family."""
        ranges = {"ways": (self.fewest_ways, self.ways), "shots": (self.fewest_shots, self.shots)}
        told = {name: f"{fewest}-{most}" for name, (fewest, most) in ranges.items() if fewest < most}
        return {**super().describe(), "family": "ragged episodes", **told}


def _padded(x: torch.Tensor, y: torch.Tensor, kept: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    x[~kept] = 0
    return x, y.masked_fill(~kept, IGNORE)
