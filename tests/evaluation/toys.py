"""Small families and learners whose right answers are known beforehand."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from metaft.tasks.batch import TaskBatch


@dataclass(frozen=True)
class Blobs:
    """Gaussian clusters in the plane; cluster centres are `gap` standard deviations apart on average."""

    ways: int = 3
    shots: int = 2
    queries: int = 4
    gap: float = 3.0
    seed: int = 0
    kind = "classification"
    input_shape = (2,)

    @property
    def outputs(self):
        return self.ways

    def batch(self, index, tasks):
        rng = torch.Generator().manual_seed(self.seed * 7919 + index)
        centres = self.gap * torch.randn(tasks, self.ways, 1, 2, generator=rng)
        points = centres + torch.randn(tasks, self.ways, self.shots + self.queries, 2, generator=rng)
        support, query = points[:, :, : self.shots], points[:, :, self.shots :]
        label = torch.arange(self.ways)
        return TaskBatch(
            support.flatten(1, 2),
            label.repeat_interleave(self.shots).repeat(tasks, 1),
            query.flatten(1, 2),
            label.repeat_interleave(self.queries).repeat(tasks, 1),
        )

    def describe(self):
        return {"family": "blobs", "ways": self.ways, "shots": self.shots, "seed": self.seed}


@dataclass(frozen=True)
class Lines:
    """y = slope · x."""

    seed: int = 0
    kind = "regression"
    outputs = 1
    input_shape = (1,)

    def batch(self, index, tasks):
        rng = torch.Generator().manual_seed(self.seed * 7919 + index)
        slope = torch.randn(tasks, 1, 1, generator=rng)
        x = torch.rand(tasks, 9, 1, generator=rng) * 2 - 1
        y = slope * x
        return TaskBatch(x[:, :4], y[:, :4], x[:, 4:], y[:, 4:])

    def describe(self):
        return {"family": "lines", "seed": self.seed}


@dataclass
class LineFitter:
    """Gradient descent on one slope from 0, written out by hand; leaves a graph on its predictions."""

    params: dict = field(default_factory=lambda: {"slope": torch.zeros(1, requires_grad=True)})
    rate: float = 0.5
    name: str = "line-fitter"
    transductive: bool = False

    def curve(self, batch, steps=None):
        slope = self.params["slope"].expand(batch.tasks, 1, 1)
        found = [slope * batch.query_x]
        for _ in range(3 if steps is None else steps):
            gap = slope * batch.support_x - batch.support_y
            slope = slope - self.rate * 2 * (gap * batch.support_x).mean(1, keepdim=True)
            found.append(slope * batch.query_x)
        return torch.stack(found)

    def describe(self):
        return {"inner_lr": self.rate}


@dataclass
class Fixed:
    """Answers with what a function of the batch says."""

    answer: object
    transductive: bool = False
    name: str = "fixed"
    params: dict = field(default_factory=dict)

    def curve(self, batch, steps=None):
        return self.answer(batch)

    def describe(self):
        return {}
