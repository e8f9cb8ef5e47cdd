"""Matching networks (Vinyals et al. 2016)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metaft.errors import MetaftError
from metaft.learners.heads.head import never, targets
from metaft.learners.metric.episodic import Comparison, EpisodicLearner, feature_width, require_classes
from metaft.learners.metric.full_context import FullContext
from metaft.models.functional import BatchNormMode
from metaft.tasks.batch import IGNORE
from metaft.tasks.family import Kind


class Attention(Comparison):
    """The class probabilities are the support labels, mixed by attention: a softmax over cosines (eq. 1).

    Args:
        scale: of the cosines at first.
        learned: whether the scale is meta-trained.
        context: embeds both sets in view of the support set; none by default.
    """

    def __init__(self, scale: float = 1.0, learned: bool = False, context: FullContext | None = None) -> None:
        super().__init__()
        self.scale, self.learned, self.context = scale, learned, context
        if learned:
            self.log_scale = nn.Parameter(torch.tensor(math.log(scale)))

    def forward(self, support: Tensor, support_y: Tensor, queries: Tensor, outputs: int) -> Tensor:
        """As ``Comparison``; scores are the logarithms of the mixture's probabilities."""
        rows, present = targets(support_y, outputs)
        real = support_y != IGNORE
        if self.context is not None:
            support, queries = self.context(support, real, queries)
        cosines = F.normalize(queries, dim=-1) @ F.normalize(support, dim=-1).mT
        scale = self.log_scale.exp() if self.learned else self.scale
        attention = never(scale * cosines, real).softmax(-1)
        mixture = attention @ rows.to(attention.dtype)
        lowest = torch.finfo(mixture.dtype).tiny  # of a class without support, and of one that no attention reaches
        return never(mixture.clamp(min=lowest).log(), present)

    def describe(self) -> dict[str, object]:
        """Its scale, and how often a query reads the support set (0: no context)."""
        reads = 0 if self.context is None else self.context.reads
        return {"scale": "learned" if self.learned else self.scale, "reads": reads}


def matching(
    model: nn.Module,
    *,
    learned_scale: bool = False,
    reads: int = 0,
    seed: int = 0,
    batch_norm: BatchNormMode = "running",
    kind: Kind = "classification",
) -> EpisodicLearner:
    """A query's label is the support labels' mean, weighted by a softmax over cosines of features.

    Vinyals, Blundell, Lillicrap, Kavukcuoglu & Wierstra 2016, "Matching networks for one shot learning", §2.1: one
    network embeds both sets, trained by the cross-entropy of the mixture. ``reads`` above 0 adds their full context
    embeddings (§2.1.2 and appendix A, which leaves K open): an LSTM runs over the support set both ways, so that its
    order changes the answers, and each query reads the result K times; on Omniglot they found it not to help much.

    Deviations: with a plain cosine, the sharpest attention is e² to 1, which keeps probabilities far from 1 where there
    are many ways; ``learned_scale`` multiplies cosines by a meta-trained number, at first 10, which is not the paper's.

    Args:
        model: any module whose last block is a linear head, which is left out.
        learned_scale: see above.
        reads: K of the full context embeddings; 0 leaves them out.
        seed: of the LSTMs' initial weights; torch's global random state is left as it was.
        batch_norm: "running", "transductive" or "inductive" (see ``TaskFeatures``).
        kind: must be "classification".

    Returns:
        The learner.

    Raises:
        MetaftError: for a regression, an unknown option, or a network without a linear head.
    """
    require_classes(kind, "matching")
    if reads < 0:
        raise MetaftError(f"reads must be 0 or more, not {reads}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        context = FullContext(feature_width(model), reads) if reads else None
    comparison = Attention(10.0 if learned_scale else 1.0, learned_scale, context)
    return EpisodicLearner("matching", model, comparison, batch_norm, kind)
