"""Nearest neighbour on raw inputs: the baseline every learner has to beat."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NoReturn

import torch
import torch.nn.functional as F
from torch import Tensor

from metaft.errors import MetaftError, nearest
from metaft.tasks.batch import TaskBatch

METRICS = ("euclidean", "cosine")


@dataclass(frozen=True)
class NearestNeighbour:
    """Give a query the class of its nearest support examples; nothing is learned.

    With ``metric="cosine"`` this is the "Pixels, baseline classifier, cosine" row of Vinyals et al. 2016,
    "Matching Networks for One Shot Learning", table 1.

    Args:
        metric: ``"euclidean"`` or ``"cosine"``, between flattened inputs.
        k: how many neighbours vote; tied votes go to the class with the nearer example.

    Raises:
        MetaftError: if the metric is unknown or `k` is below 1.
    """

    metric: str = "euclidean"
    k: int = 1
    name: str = field(default="nearest-neighbour", init=False)
    transductive: bool = field(default=False, init=False)
    params: dict[str, Tensor] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        if self.metric not in METRICS:
            raise MetaftError(f"unknown metric {self.metric!r}{nearest(self.metric, METRICS)}")
        if self.k < 1:
            raise MetaftError(f"k must be at least 1 neighbour, got {self.k}")

    def adapt(self, support_x: Tensor, support_y: Tensor) -> Callable[[Tensor], Tensor]:
        """Remember the support set.

        Args:
            support_x: ``[..., support, *input]``; the leading axes, if any, are tasks.
            support_y: ``int64 [..., support]``, labels from 0 to ways − 1.

        Returns:
            ``predictor(query_x [..., queries, *input]) -> scores [..., queries, ways]``, higher is better:
            for ``k=1`` the negative distance to the nearest example of each class, otherwise the votes (plus
            less than one vote for nearness).

        Raises:
            MetaftError: if the labels are not class labels, or `k` exceeds the support set.
        """
        if support_y.is_floating_point():
            raise MetaftError("nearest neighbour answers with classes; these tasks have real-valued targets")
        if self.k > support_y.shape[-1]:
            raise MetaftError(f"k={self.k} neighbours asked of a support set of {support_y.shape[-1]} examples")
        ways = int(support_y.max()) + 1
        axes = support_y.dim()
        keys = support_x.flatten(axes)

        def predictor(query_x: Tensor) -> Tensor:
            gaps = self._distances(query_x.flatten(axes), keys)
            labels = support_y.unsqueeze(-2).expand(gaps.shape)
            # A label without an example in the support set stays at the largest finite distance.
            far = gaps.new_full((*gaps.shape[:-1], ways), torch.finfo(gaps.dtype).max)
            by_class = far.scatter_reduce(-1, labels, gaps, "amin")
            if self.k == 1:
                return -by_class
            # A stable sort, so that equally near examples are taken in support order.
            voters = labels.gather(-1, gaps.sort(dim=-1, stable=True).indices[..., : self.k])
            votes = torch.zeros_like(far).scatter_add(-1, voters, torch.ones_like(voters, dtype=gaps.dtype))
            return votes + 1 / (2 + by_class)

        return predictor

    def curve(self, batch: TaskBatch, steps: int | None = None) -> Tensor:
        """Scores of all query sets; there are no inner steps, so `steps` changes nothing.

        Args:
            batch: the tasks.
            steps: ignored.

        Returns:
            ``[1, tasks, queries, ways]``.
        """
        with torch.no_grad():
            return self.adapt(batch.support_x, batch.support_y)(batch.query_x).unsqueeze(0)

    def meta_gradient(self, batch: TaskBatch) -> NoReturn:
        """Refuse: there is nothing to meta-train.

        Raises:
            MetaftError: always.
        """
        raise MetaftError("nearest-neighbour has no parameters to meta-train; evaluate it as it is")

    def describe(self) -> dict[str, Any]:
        """Its settings, flat, for logs and tables."""
        return {"learner": self.name, "metric": self.metric, "k": self.k, "features": "raw", "adapts": 0}

    def _distances(self, queries: Tensor, keys: Tensor) -> Tensor:
        """``[..., queries, d]`` and ``[..., support, d]`` → ``[..., queries, support]``, at least 0."""
        if self.metric == "cosine":
            similarity = F.normalize(queries, dim=-1) @ F.normalize(keys, dim=-1).mT
            return (1 - similarity).clamp(min=0)
        # The matrix-product shortcut of cdist cancels digits: two equal images would not be at distance 0.
        return torch.cdist(queries, keys, compute_mode="donot_use_mm_for_euclid_dist")
