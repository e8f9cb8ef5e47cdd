"""Nearest neighbours: the support set itself is the head."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from metaft.errors import MetaftError, nearest
from metaft.learners.heads.head import Fitted, never, require_labels, targets
from metaft.tasks.batch import IGNORE
from metaft.validate import require_count

METRICS = ("euclidean", "cosine")


@dataclass(frozen=True)
class Neighbours:
    """The class of the nearest support examples (Cover & Hart 1967).

    For ``k=1`` a class scores the negative distance to its nearest example; otherwise its votes, and less than one
    vote for nearness, so that tied votes go to the class with the nearer example.

    Args:
        metric: "euclidean" or "cosine".
        k: how many neighbours vote; equally near ones are taken in support order.

    Raises:
        MetaftError: if the metric is unknown or `k` is below 1.
    """

    metric: str = "euclidean"
    k: int = 1

    def __post_init__(self) -> None:
        if self.metric not in METRICS:
            raise MetaftError(f"unknown metric {self.metric!r}{nearest(self.metric, METRICS)}")
        require_count(self.k, "the number of neighbours k", 1)

    def fit(self, x: Tensor, y: Tensor, outputs: int) -> Fitted:
        """Remember the support sets (see ``Head``)."""
        require_labels(y, "nearest neighbour")
        padding = y == IGNORE
        examples = int((~padding).sum(-1).min())
        if self.k > examples:
            raise MetaftError(f"k={self.k} neighbours asked of a support set of {examples} examples")
        present = targets(y, outputs)[1]
        labels = y.masked_fill(padding, 0).unsqueeze(-2)

        def scores(queries: Tensor) -> Tensor:
            gaps = self._distances(queries, x)
            ignored = padding.unsqueeze(-2)
            farthest = gaps.masked_fill(ignored, 0).amax(-1, keepdim=True).clamp(min=torch.finfo(gaps.dtype).tiny)
            gaps = gaps.masked_fill(ignored, torch.inf)
            whose = labels.expand(gaps.shape)
            by_class = gaps.new_full((*gaps.shape[:-1], outputs), torch.inf).scatter_reduce(-1, whose, gaps, "amin")
            if self.k == 1:
                return never(-by_class, present)
            voters = whose.gather(-1, gaps.sort(dim=-1, stable=True).indices[..., : self.k])
            votes = torch.zeros_like(by_class).scatter_add(-1, voters, torch.ones_like(voters, dtype=gaps.dtype))
            return never(votes + (1 - by_class / farthest) / 2, present)

        return Fitted(scores, 0)

    def _distances(self, queries: Tensor, keys: Tensor) -> Tensor:
        """``[tasks, queries, width]`` and ``[tasks, support, width]`` → ``[tasks, queries, support]``, at least 0."""
        if self.metric == "cosine":
            similarity = F.normalize(queries, dim=-1) @ F.normalize(keys, dim=-1).mT
            return (1 - similarity).clamp(min=0)
        # The matrix-product shortcut of cdist cancels digits: two equal images would not be at distance 0.
        return torch.cdist(queries, keys, compute_mode="donot_use_mm_for_euclid_dist")

    def describe(self) -> dict[str, Any]:
        """Its settings, flat."""
        return {"metric": self.metric, "k": self.k}
