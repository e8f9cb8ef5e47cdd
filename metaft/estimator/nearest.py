"""Which support example is nearest to a query, by the features of the learner's own network."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from metaft.inner.adapt import network
from metaft.learners.embedding import Embedding
from metaft.learners.fine_tuning import FineTuning
from metaft.learners.frozen import FrozenLearner
from metaft.learners.learner import Learner
from metaft.learners.maml import MAML
from metaft.learners.metric.episodic import EpisodicLearner


def nearest(learner: Learner, support_x: Tensor, query_x: Tensor) -> Tensor | None:
    """The nearest support example of each query.

    Features are those that a learner compares; of a learner with an inner loop, those of its network before the
    support set has moved it, of length 1. Without a network the inputs themselves are compared.

    Args:
        learner: adapts and answers.
        support_x: ``[support, *input]``.
        query_x: ``[queries, *input]``, texts of as many places.

    Returns:
        ``int64 [queries]``, places in the support set; None where texts have no features.
    """
    pair = _features(learner, support_x.unsqueeze(0), query_x.unsqueeze(0))
    if pair is None:
        return None
    support, queries = (one[0].flatten(1) for one in pair)
    return torch.cdist(queries, support).argmin(-1)


@torch.no_grad()
def _features(learner: Learner, support_x: Tensor, query_x: Tensor) -> tuple[Tensor, Tensor] | None:
    if isinstance(learner, FrozenLearner):
        return _embedded(learner.embedding, learner.params, support_x, query_x)
    if isinstance(learner, EpisodicLearner):
        found = learner.features(learner.network(), torch.cat([support_x, query_x], 1), support_x.shape[1])
        return found[:, : support_x.shape[1]], found[:, support_x.shape[1] :]
    if isinstance(learner, MAML | FineTuning):
        module: nn.Module = copy.deepcopy(learner.model.module)
        own = network(learner.params)
        per_step: tuple[str, ...] = getattr(learner, "per_step", ())
        module.load_state_dict({name: p[0] if name in per_step else p for name, p in own.items()}, strict=False)
        mode: Any = "running" if learner.model.batch_norm == "running" else "inductive"  # of the query alone
        embedding = Embedding(module, batch_norm=mode, normalise="l2")
        return _embedded(embedding, embedding.network.params(), support_x, query_x)
    return (support_x, query_x) if support_x.is_floating_point() else None


def _embedded(embedding: Embedding, params: Any, support_x: Tensor, query_x: Tensor) -> tuple[Tensor, Tensor]:
    counted, asked = (torch.ones(x.shape[:2], dtype=torch.bool) for x in (support_x, query_x))
    support, centre = embedding.support(params, support_x, counted)
    return support, embedding.queries(params, support_x, counted, query_x, asked, centre)
