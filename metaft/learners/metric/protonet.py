"""Prototypical networks (Snell, Swersky & Zemel 2017)."""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metaft.errors import MetaftError, nearest
from metaft.learners.heads.head import never, targets
from metaft.learners.metric.episodic import Comparison, EpisodicLearner, require_classes
from metaft.models.functional import BatchNormMode
from metaft.tasks.family import Kind

Distance = Literal["euclidean", "cosine"]
COSINE_SCALE = 10.0


class PrototypeDistance(Comparison):
    """Scores by closeness to the class means of the support features (eq. 1 and 2).

    Args:
        distance: "euclidean" (minus the squared distance) or "cosine" (times a learned scale, at first 10).
    """

    def __init__(self, distance: Distance = "euclidean") -> None:
        super().__init__()
        self.distance = distance
        if distance == "cosine":
            self.log_scale = nn.Parameter(torch.tensor(math.log(COSINE_SCALE)))

    def forward(self, support: Tensor, support_y: Tensor, queries: Tensor, outputs: int) -> Tensor:
        """As ``Comparison``."""
        means, present = class_means(support, support_y, outputs)
        if self.distance == "cosine":
            scores = self.log_scale.exp() * F.normalize(queries, dim=-1) @ F.normalize(means, dim=-1).mT
        else:
            across = queries @ means.mT
            scores = 2 * across - means.square().sum(-1).unsqueeze(-2) - queries.square().sum(-1, keepdim=True)
        return never(scores, present)

    def numbers(self, width: int, outputs: int) -> int:
        """The class means."""
        return width * outputs

    def describe(self) -> dict[str, object]:
        """Its distance."""
        return {"distance": self.distance}


def class_means(x: Tensor, y: Tensor, outputs: int) -> tuple[Tensor, Tensor]:
    """The mean feature of each class.

    Args:
        x: ``[tasks, support, width]``.
        y: ``int64 [tasks, support]``, padding labelled `IGNORE`.
        outputs: how many classes.

    Returns:
        ``[tasks, outputs, width]``, 0 for a class without an example; and ``bool [tasks, outputs]``, which have one.
    """
    rows, present = targets(y, outputs)
    share = rows / rows.sum(-2, keepdim=True).clamp(min=1)
    return share.to(x.dtype).mT @ x, present


def protonet(
    model: nn.Module,
    *,
    distance: Distance = "euclidean",
    batch_norm: BatchNormMode = "running",
    kind: Kind = "classification",
) -> EpisodicLearner:
    """A class is the mean of its support features, and a query's class the softmax over minus squared distances.

    Snell, Swersky & Zemel 2017, "Prototypical networks for few-shot learning", alg. 1. They train on more ways than
    they test on (Omniglot: 60, with 5 queries a class, one task an update; Adam from 1e-3, halved every 2000 updates):
    ``--train-ways 60 --queries 5 --tasks 1``.

    Deviations: the paper's network pools (``--pool max``), ours strides unless told; the learning rate is constant
    unless ``schedule`` says cosine. The cosine distance is theirs too (§2.7, worse); that its scale is learned is not.

    Args:
        model: any module whose last block is a linear head, which is left out.
        distance: "euclidean" or "cosine".
        batch_norm: "running", "transductive" or "inductive" (see ``TaskFeatures``).
        kind: must be "classification".

    Returns:
        The learner.

    Raises:
        MetaftError: for a regression, an unknown option, or a network without a linear head.
    """
    require_classes(kind, "protonet")
    if distance not in get_args(Distance):
        raise MetaftError(f"unknown distance {distance!r}{nearest(distance, get_args(Distance))}")
    return EpisodicLearner("protonet", model, PrototypeDistance(distance), batch_norm, kind)
