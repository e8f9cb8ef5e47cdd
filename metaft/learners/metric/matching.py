"""Matching networks (Vinyals et al. 2016)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metaft.learners.heads.head import never, targets
from metaft.learners.metric.episodic import Comparison, EpisodicLearner, require_classes
from metaft.models.functional import BatchNormMode
from metaft.tasks.batch import IGNORE
from metaft.tasks.family import Kind


class Attention(Comparison):
    """The class probabilities are the support labels, mixed by attention: a softmax over cosines (eq. 1).

    Args:
        scale: of the cosines at first.
        learned: whether the scale is meta-trained.
    """

    def __init__(self, scale: float = 1.0, learned: bool = False) -> None:
        super().__init__()
        self.scale, self.learned = scale, learned
        if learned:
            self.log_scale = nn.Parameter(torch.tensor(math.log(scale)))

    def forward(self, support: Tensor, support_y: Tensor, queries: Tensor, outputs: int) -> Tensor:
        """As ``Comparison``; scores are the logarithms of the mixture's probabilities."""
        rows, present = targets(support_y, outputs)
        cosines = F.normalize(queries, dim=-1) @ F.normalize(support, dim=-1).mT
        scale = self.log_scale.exp() if self.learned else self.scale
        attention = never(scale * cosines, support_y != IGNORE).softmax(-1)
        mixture = attention @ rows.to(attention.dtype)
        lowest = torch.finfo(mixture.dtype).tiny  # of a class without support, and of one that no attention reaches
        return never(mixture.clamp(min=lowest).log(), present)

    def describe(self) -> dict[str, object]:
        """Its scale."""
        return {"scale": "learned" if self.learned else self.scale}


SCALE = 10.0
"""Where a learned scale begins."""


def matching(
    model: nn.Module,
    *,
    learned_scale: bool = False,
    batch_norm: BatchNormMode = "running",
    kind: Kind = "classification",
) -> EpisodicLearner:
    """A query's label is the support labels' mean, weighted by a softmax over cosines of features.

    Vinyals, Blundell, Lillicrap, Kavukcuoglu & Wierstra 2016, "Matching networks for one shot learning", §2.1: one
    network embeds both sets (f = g), trained by the cross-entropy of the mixture. With their full context embeddings it
    is ``matching-fce``; on Omniglot they found those not to help much.

    Deviations: with a plain cosine, the sharpest attention is e² to 1, which keeps probabilities far from 1 where there
    are many ways; ``learned_scale`` multiplies cosines by a meta-trained number, at first 10, which is not the paper's.

    Args:
        model: any module whose last block is a linear head, which is left out.
        learned_scale: see above.
        batch_norm: "running", "transductive" or "inductive" (see ``TaskFeatures``).
        kind: must be "classification".

    Returns:
        The learner.

    Raises:
        MetaftError: for a regression, an unknown option, or a network without a linear head.
    """
    require_classes(kind, "matching")
    comparison = Attention(SCALE, learned=True) if learned_scale else Attention()
    return EpisodicLearner("matching", model, comparison, batch_norm, kind)
