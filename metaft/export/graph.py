"""A learner as an ordinary module: its answers to one task, in operations that torch.export can follow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from metaft.data.texts.labelled_texts import PADDING
from metaft.errors import MetaftError
from metaft.learners.fine_tuning import FineTuning
from metaft.learners.frozen import FrozenLearner
from metaft.learners.heads.forest import Forest
from metaft.learners.heads.nearest_mean import NearestMean
from metaft.learners.heads.ridge import Ridge
from metaft.learners.learner import Learner
from metaft.learners.maml import MAML
from metaft.learners.metric.episodic import COMPARISON, NETWORK, EpisodicLearner
from metaft.models.functional import Params

Answer = Callable[[Tensor], Tensor]
CLOSED_FORM = (NearestMean, Ridge)
"""Heads that are fitted by one formula; the others search, and their steps hang on the numbers they see."""


class Answers(nn.Module):
    """The answers to queries by a support set that was taken before.

    Args:
        answer: ``[queries, *input] → [queries, outputs]``.
        outputs: how many of the outputs are classes of the support set, or values.
        classes: whether they are classes.
        texts: whether queries are texts, and come with their lengths.
    """

    def __init__(self, answer: Answer, outputs: int, classes: bool, texts: bool = False) -> None:
        super().__init__()
        self.answer, self.outputs, self.classes, self.texts = answer, outputs, classes, texts

    def forward(self, queries: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, ...]:
        """Answer.

        Args:
            queries: ``[queries, *input]``.
            lengths: of texts, ``int64 [queries]``; what is behind them counts as padding.

        Returns:
            The scores and probabilities of classes, ``[queries, classes]``; or values, ``[queries, outputs]``.
        """
        if lengths is not None:
            queries = within(queries, lengths)
        return told(self.answer(queries)[:, : self.outputs], self.classes)


class FitAndPredict(nn.Module):
    """A support set and queries in, answers out.

    Args:
        learner: one of which `why_not_whole` says nothing.
        outputs: the number of classes, or of values.
    """

    def __init__(self, learner: Learner, outputs: int) -> None:
        super().__init__()
        self.learner, self.outputs = learner, outputs

    def forward(
        self,
        support: Tensor,
        labels: Tensor,
        queries: Tensor,
        support_lengths: Tensor | None = None,
        query_lengths: Tensor | None = None,
    ) -> tuple[Tensor, ...]:
        """Take the support set and answer.

        Args:
            support: ``[examples, *input]``.
            labels: ``int64 [examples]`` from 0, or values ``[examples, outputs]``.
            queries: ``[queries, *input]``.
            support_lengths: of texts, ``int64 [examples]``.
            query_lengths: likewise, ``int64 [queries]``.

        Returns:
            As `Answers`.
        """
        if support_lengths is not None and query_lengths is not None:
            support, queries = within(support, support_lengths), within(queries, query_lengths)
        answer = _answer(self.learner, support, labels, self.outputs)
        return told(answer(queries), not labels.is_floating_point())


def within(ids: Tensor, lengths: Tensor) -> Tensor:
    """Texts without what lies behind their end.

    Args:
        ids: ``int64 [texts, places]``.
        lengths: ``int64 [texts]``.
    """
    places = torch.arange(ids.shape[1], device=ids.device)
    return torch.where(places < lengths[:, None], ids, PADDING)


def told(scores: Tensor, classes: bool) -> tuple[Tensor, ...]:
    """Scores with their probabilities, or values alone."""
    return (scores, scores.double().softmax(-1).to(scores.dtype)) if classes else (scores,)


def adapted(learner: Learner, support: Tensor, labels: Tensor, outputs: int) -> Answer:
    """What a learner makes of a support set, once.

    Args:
        learner: any.
        support: ``[examples, *input]``.
        labels: ``int64 [examples]``, or values ``[examples, outputs]``.
        outputs: how many classes or values.

    Returns:
        The answers to queries, ``[queries, *input] → [queries, outputs]``.

    Raises:
        MetaftError: for a learner whose answers are no graph of tensors.
    """
    if isinstance(learner, FrozenLearner) and (isinstance(learner.head, Forest) or _by_library(learner.head)):
        raise MetaftError(
            f"{learner.name} answers by scikit-learn's {type(learner.head).__name__}, which is no graph of tensors; "
            "take another head (head=ridge), or without solver=scikit-learn"
        )
    if isinstance(learner, FrozenLearner | EpisodicLearner):
        return _answer(learner, support, labels, outputs)
    if not isinstance(learner, MAML | FineTuning):
        raise MetaftError(
            f"{learner.name} writes a prompt for each query, which is no graph of tensors; export a learner that "
            "adapts or compares, such as class-means:backbone=RUN or fine-tuning:backbone=RUN"
        )
    predictor = learner.adapt(support.unsqueeze(0), labels.unsqueeze(0))
    return lambda queries: predictor(queries.unsqueeze(0))[0]


def why_not_whole(learner: Learner) -> str | None:
    """Why fit and predict together are no graph; None if they are one.

    Args:
        learner: any.
    """
    if isinstance(learner, MAML | FineTuning):
        return "it takes gradient steps on each support set"
    if isinstance(learner, EpisodicLearner) or (isinstance(learner, FrozenLearner) and _is_closed(learner.head)):
        return None
    if isinstance(learner, FrozenLearner):
        return f"its head ({type(learner.head).__name__}) is not fitted by one formula"
    return "it writes a prompt for each query"


def _by_library(head: object) -> bool:
    return getattr(head, "solver", "batched") == "scikit-learn"


def _is_closed(head: object) -> bool:
    return isinstance(head, CLOSED_FORM) and not _by_library(head)


def _answer(learner: Any, support: Tensor, labels: Tensor, outputs: int) -> Answer:
    """Of learners that adapt no network; nothing in it hangs on numbers, so it can be followed too."""
    return (_by_head if isinstance(learner, FrozenLearner) else _by_comparison)(learner, support, labels, outputs)


def _by_head(learner: FrozenLearner, support: Tensor, labels: Tensor, outputs: int) -> Answer:
    embedding, network, params = learner.embedding, learner.embedding.network, learner.params
    by_task = network.normalises and network.batch_norm != "running"
    found = network(params, support).unsqueeze(0)
    if embedding.centre == "base":
        assert embedding.base is not None
        centre = embedding.base.to(found)[None, None]
    else:
        centre = found.mean(-2, keepdim=True) if embedding.centre == "support" else found.new_zeros(1, 1, 1)
    fitted = learner.head.fit(embedding.transformed(found, centre), labels.unsqueeze(0), outputs)

    def answer(queries: Tensor) -> Tensor:
        asked = network.query(params, support, queries) if by_task else network(params, queries)
        return fitted.scores(embedding.transformed(asked.unsqueeze(0), centre))[0]

    return answer


def _by_comparison(learner: EpisodicLearner, support: Tensor, labels: Tensor, outputs: int) -> Answer:
    comparing = {n.removeprefix(COMPARISON): p for n, p in learner.params.items() if n.startswith(COMPARISON)}
    network: Params = {n.removeprefix(NETWORK): p for n, p in learner.params.items() if n.startswith(NETWORK)}
    apart = learner.features.mode in ("running", "none")
    first = learner.features(network, support.unsqueeze(0), support.shape[0], at_once=True) if apart else None

    def answer(queries: Tensor) -> Tensor:
        if first is None:
            both = torch.cat([support, queries]).unsqueeze(0)
            known, asked = learner.features(network, both, support.shape[0], at_once=True).tensor_split(
                [support.shape[0]], dim=1
            )
        else:
            known, asked = first, learner.features(network, queries.unsqueeze(0), 0, at_once=True)
        scores: Tensor = learner.compare(comparing, known, labels.unsqueeze(0), asked, outputs)[0]
        return scores

    return answer
