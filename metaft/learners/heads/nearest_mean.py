"""The nearest class mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from metaft.learners.heads.head import Fitted, never, require_labels, targets


@dataclass(frozen=True)
class NearestMean:
    """The class whose mean support feature is nearest, by Euclidean distance (Wang et al. 2019, §3.1).

    A class scores the negative squared distance to its mean, as in a prototypical network (Snell et al. 2017, eq. 2).
    """

    solvers: ClassVar[tuple[str, ...]] = ("batched",)

    def fit(self, x: Tensor, y: Tensor, outputs: int) -> Fitted:
        """Average each class (see ``Head``)."""
        require_labels(y, "nearest class mean")
        rows, present = targets(y, outputs)
        share = (rows / rows.sum(-2, keepdim=True).clamp(min=1)).to(x.dtype)
        means = share.mT @ x

        def scores(queries: Tensor) -> Tensor:
            gaps = torch.cdist(queries, means, compute_mode="donot_use_mm_for_euclid_dist")
            return never(-gaps.square(), present)

        return Fitted(scores, means[0].numel())

    def describe(self) -> dict[str, Any]:
        """Nothing to set."""
        return {}
