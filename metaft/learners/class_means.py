"""SimpleShot: the nearest class mean of transformed features (Wang et al. 2019)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from metaft.data.examples import LabelledExamples
from metaft.learners.embedding import Centre, Embedding, Normalise
from metaft.learners.frozen import FrozenLearner
from metaft.learners.heads import NearestMean
from metaft.models.functional import BatchNormMode
from metaft.models.layers import Combine

CHUNK = 512


class ClassMeans(FrozenLearner):
    """The class whose mean support feature is nearest, after centring and L2-normalising features.

    Wang, Chao, Weinberger & van der Maaten 2019, "SimpleShot: Revisiting nearest-neighbor classification for
    few-shot learning", §3.1: ``normalise="none"`` is their UN, "l2" their L2N, and ``centre="base"`` with "l2"
    their CL2N. As in their code, class means are not normalised again.

    Deviation: ``centre="support"`` subtracts the mean of the task's own support set where no mean of the training
    classes is at hand; it is inductive too, but with one shot a class it moves the classes apart from 0 alike.

    Args:
        model: the network, trained on the base classes; None for raw inputs.
        centre: "none", "support" or "base".
        normalise: "l2" or "none".
        base: ``[width]``, the mean feature of the training classes, from `base_mean`; for ``centre="base"``.
        features, combine, batch_norm, workers: as for ``NearestNeighbour``.

    Raises:
        MetaftError: if an option is unknown, a layer does not exist, or `base` is missing.
    """

    def __init__(
        self,
        model: nn.Module | None = None,
        *,
        centre: Centre = "none",
        normalise: Normalise = "l2",
        base: Tensor | None = None,
        features: str | None = None,
        combine: Combine = "concatenate",
        batch_norm: BatchNormMode = "running",
        workers: int = 1,
    ) -> None:
        embedding = Embedding(model, features, combine, batch_norm, centre, normalise, base)
        super().__init__("class-means", embedding, NearestMean(), workers)


@torch.no_grad()
def base_mean(
    model: nn.Module | None,
    images: LabelledExamples,
    features: str | None = None,
    combine: Combine = "concatenate",
) -> Tensor:
    """The mean feature of the base classes (Wang et al. 2019, §3.1, x̄).

    Args:
        model: the network; batch norm by its running statistics.
        images: examples of the *training* classes.
        features: which layers, as for the learner.
        combine: as for the learner.

    Returns:
        ``[width]``: the mean over all of them.
    """
    embedding = Embedding(model, features, combine)
    params = embedding.network.params()
    rows = torch.arange(len(images)).split(CHUNK)
    total = sum(embedding.network(params, images.take(part)).double().sum(0) for part in rows)
    assert isinstance(total, Tensor)
    return (total / len(images)).float()
