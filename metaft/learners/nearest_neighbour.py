"""Nearest neighbour, on raw inputs or features: the baseline every learner has to beat."""

from __future__ import annotations

from torch import nn

from metaft.learners.embedding import Embedding
from metaft.learners.frozen import FrozenLearner
from metaft.learners.heads import Neighbours
from metaft.models.functional import BatchNormMode
from metaft.models.layers import Combine


class NearestNeighbour(FrozenLearner):
    """Give a query the class of its nearest support examples; nothing is learned.

    With ``metric="cosine"`` and no network this is the "Pixels, baseline classifier, cosine" row of Vinyals et al.
    2016, "Matching Networks for One Shot Learning", table 1; with a pretrained one, their "Baseline classifier".

    Args:
        model: the network whose features are compared; None for raw inputs.
        metric: "euclidean" or "cosine".
        k: how many neighbours vote; tied votes go to the class with the nearer example.
        features: "raw", "penultimate" or layers (see ``metaft.models.layers.LayerFeatures``); by default the
            penultimate of the network, raw inputs without one.
        combine: "concatenate" or "average" several layers.
        batch_norm: of the network: "running", "inductive" or "transductive".
        workers: threads that share a batch's tasks.

    Raises:
        MetaftError: if an option is unknown, a layer does not exist, or `k` is below 1.
    """

    def __init__(
        self,
        model: nn.Module | None = None,
        *,
        metric: str = "euclidean",
        k: int = 1,
        features: str | None = None,
        combine: Combine = "concatenate",
        batch_norm: BatchNormMode = "running",
        workers: int = 1,
    ) -> None:
        embedding = Embedding(model, features, combine, batch_norm)
        super().__init__("nearest-neighbour", embedding, Neighbours(metric, k), workers)
