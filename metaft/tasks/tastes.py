"""Few-shot preferences: a task is a user, who has chosen between the texts of a few pairs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from metaft.data.texts.labelled_texts import LabelledTokens
from metaft.data.texts.traits import traits
from metaft.errors import MetaftError
from metaft.tasks.batch import TaskBatch
from metaft.tasks.episodes import Episodes, distinct
from metaft.tasks.random import generator

SPARE = 2
"""Pairs drawn for each that is needed: those between which a user has no preference are left out."""


@dataclass(frozen=True)
class Tastes(Episodes):
    """Users who prefer one class of texts to another; both are new to each user.

    An example is a pair of texts, its label which of them is preferred, 0 for the first. A support pair is shown in
    both orders, as two examples: no learner can answer by the place, and one pair is enough to have both labels. The
    order of a query pair is drawn.

    Args:
        ways: 2, the two places of a pair.
        shots: pairs of the support set.
        queries: pairs of the query set.

    Raises:
        MetaftError: as `Episodes`, or for another number of ways.
    """

    ways: int = 2

    def __post_init__(self) -> None:
        if self.ways != 2:
            raise MetaftError(f"ways = {self.ways}: a pair of {self.dataset} has two places; leave --ways out")
        super().__post_init__()

    @property
    def input_shape(self) -> tuple[int, ...]:
        """``(2, places)``."""
        return (2, *self.images.input_shape)

    def batch(self, index: int, tasks: int) -> TaskBatch:
        """Draw the index-th batch of users; pure in (seed, split, index, tasks).

        Args:
            index: which batch.
            tasks: how many users.

        Returns:
            Pairs ``int64 [tasks, 2 · shots, 2, places]`` (and ``queries``) and labels ``int64 [tasks, 2 · shots]``.
        """
        preferred_first = torch.from_numpy(np.ascontiguousarray(self.indices(index, tasks).swapaxes(1, 2)))
        support, asked = preferred_first.tensor_split([self.shots], dim=1)  # [tasks, pairs, 2]
        draw = generator(self.seed, f"{self.dataset}/{self.split}/order", index)
        order = torch.from_numpy(draw.integers(0, 2, (tasks, self.queries)))
        asked = torch.where(order.unsqueeze(-1) == 1, asked.flip(-1), asked)
        shown = torch.stack([support, support.flip(-1)], dim=2).flatten(1, 2)
        x = self.images.take_apart(torch.cat([shown, asked], dim=1), 2 * self.shots)
        return TaskBatch(x[0], torch.arange(2).repeat(tasks, self.shots), x[1], order, layout=self.images.layout)

    def describe(self) -> dict[str, object]:
        """The settings that identify this family."""
        return {**super().describe(), "family": "tastes"}


@dataclass(frozen=True)
class MixedTastes(Tastes):
    """Users who weigh the traits of a text, each in a direction of their own, and prefer what has the larger sum.

    Weights are drawn from a normal distribution, user by user. Texts may be of any class.

    Args:
        traits: ``[texts, traits]``, see `metaft.data.texts.traits`.

    Raises:
        MetaftError: as `Tastes`, or if there are too few texts.
    """

    traits: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 1)), repr=False, hash=False, compare=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        needed = 2 * SPARE * (self.shots + self.queries)
        if needed > len(self.images):
            raise MetaftError(
                f"{self.shots} shots + {self.queries} queries need {needed} texts to draw pairs from, and "
                f"{self.dataset} ({self.split}) has {len(self.images)}; ask for fewer"
            )

    def indices(self, index: int, tasks: int) -> np.ndarray:
        """Choose the texts of the index-th batch.

        Args:
            index: which batch.
            tasks: how many users.

        Returns:
            ``int64 [tasks, 2, shots + queries]`` rows of the texts, the preferred one first.
        """
        draw = generator(self.seed, f"{self.dataset}/{self.split}/mix", index)
        pairs = self.shots + self.queries
        rows = distinct(draw, tasks, len(self.images), 2 * SPARE * pairs).reshape(tasks, 2, -1)
        weights = draw.standard_normal((tasks, self.traits.shape[1]))
        worth = np.einsum("nspt,nt->nsp", self.traits[rows], weights)
        gain = worth[:, 0] - worth[:, 1]
        kept = np.argsort(gain == 0, axis=1, kind="stable")[:, :pairs]
        rows, gain = np.take_along_axis(rows, kept[:, None], 2), np.take_along_axis(gain, kept, 1)
        return np.where(gain[:, None] >= 0, rows, rows[:, ::-1])


def tastes(images: LabelledTokens, details: Mapping[str, object], **how: Any) -> Tastes:
    """The tasks of the data set ``tastes``.

    Args:
        images: the texts of one split.
        details: the data set's options; ``users`` says which users, see `metaft.data.texts.tastes`.
        how: ``ways``, ``shots``, ``queries``, ``seed``, ``dataset`` and ``split``, as of `Tastes`.

    Returns:
        The family.

    Raises:
        MetaftError: as `Tastes`.
    """
    if details.get("users") == "mix":
        return MixedTastes(images, **how, details=details, traits=traits(images)[0])
    return Tastes(images, **how, details=details)
