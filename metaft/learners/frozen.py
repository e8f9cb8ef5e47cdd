"""Learners whose network stays as it is: features, and a head fitted to the support set."""

from __future__ import annotations

from typing import Any, NoReturn

import torch
from torch import Tensor

from metaft.errors import MetaftError
from metaft.learners.embedding import Embedding
from metaft.learners.heads.head import Head
from metaft.learners.learner import Predictor
from metaft.outer.chunks import map_chunks
from metaft.tasks.batch import IGNORE, TaskBatch
from metaft.tasks.check import require_support


class FrozenLearner:
    """Features of a network that does not adapt, and a head that does.

    Args:
        name: the method's.
        embedding: gives the features.
        head: is fitted to the support sets.
        workers: threads that share a batch's tasks.
    """

    def __init__(self, name: str, embedding: Embedding, head: Head, workers: int = 1) -> None:
        self.name, self.embedding, self.head, self.workers = name, embedding, head, workers
        self.params = embedding.network.params()
        self._adapts = 0

    @property
    def transductive(self) -> bool:
        """True where batch norm sees the whole query set."""
        return self.embedding.network.transductive

    def adapt(self, support_x: Tensor, support_y: Tensor) -> Predictor:
        """Fit the head.

        Args:
            support_x: ``[tasks, support, *input]``.
            support_y: ``int64 [tasks, support]``, padding labelled `IGNORE`; or real ``[tasks, support, outputs]``
                for a head that solves regressions.

        Returns:
            ``query_x [tasks, queries, *input] → scores [tasks, queries, ways]``, higher is better.

        Raises:
            MetaftError: if the head does not suit the tasks.
        """
        require_support(support_y)
        return self._adapt(support_x, support_y, _outputs(support_y))

    def _adapt(self, support_x: Tensor, support_y: Tensor, outputs: int, padded: Tensor | None = None) -> Predictor:
        counted = _counted(support_y)
        features, centre = self.embedding.support(self.params, support_x, counted)
        fitted = self.head.fit(features, support_y, outputs)
        self._adapts = fitted.numbers

        def predictor(query_x: Tensor) -> Tensor:
            asked = query_x.new_ones(query_x.shape[:2], dtype=torch.bool) if padded is None else ~padded
            found = self.embedding.queries(self.params, support_x, counted, query_x, asked, centre)
            return fitted.scores(found)

        return predictor

    def curve(self, batch: TaskBatch, steps: int | None = None) -> Tensor:
        """Scores of all query sets; there are no inner steps, so ``steps`` changes nothing.

        Args:
            batch: the tasks.
            steps: ignored.

        Returns:
            ``[1, tasks, queries, ways]``.

        Raises:
            MetaftError: as `adapt`.
        """
        require_support(batch.support_y)
        outputs = _outputs(batch.support_y)

        def answers(chunk: TaskBatch) -> Tensor:
            padded = ~_counted(chunk.query_y)
            return self._adapt(chunk.support_x, chunk.support_y, outputs, padded)(chunk.query_x)

        return torch.cat(map_chunks(answers, batch, self.workers, owner=self)).unsqueeze(0)

    def meta_gradient(self, batch: TaskBatch) -> NoReturn:
        """Refuse: there is nothing to meta-train.

        Raises:
            MetaftError: always.
        """
        raise MetaftError(f"{self.name} has no parameters to meta-train; evaluate it as it is")

    def describe(self) -> dict[str, Any]:
        """Its settings, flat; "adapts" counts the numbers fitted a task, as of the last batch (0 before any)."""
        return {
            "learner": self.name,
            **self.embedding.describe(),
            **self.head.describe(),
            "adapts": self._adapts,
            "parameters": sum(value.numel() for value in self.params.values()),
        }


def _outputs(y: Tensor) -> int:
    return y.shape[-1] if y.is_floating_point() else int(y.max()) + 1


def _counted(y: Tensor) -> Tensor:
    return y.new_ones(y.shape[:2], dtype=torch.bool) if y.is_floating_point() else y != IGNORE
