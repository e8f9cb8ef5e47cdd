"""Feature extraction: a frozen network and a new head, fitted to convergence."""

from __future__ import annotations

from torch import nn

from metaft.learners.embedding import Embedding, Normalise
from metaft.learners.frozen import FrozenLearner
from metaft.learners.heads import build_head
from metaft.models.functional import BatchNormMode
from metaft.models.layers import Combine


class FeatureExtraction(FrozenLearner):
    """A classical classifier on the features of a network that stays as it is.

    The defaults are those of Tian et al. 2020, "Rethinking few-shot image classification: a good embedding is all you
    need?" (§3.2 and their code): multinomial logistic regression with C = 1 on L2-normalised penultimate features.

    Deviation: theirs augments a support set of one shot five times before it is fitted; this does not.

    Args:
        model: the network; None for raw inputs.
        head: "logistic", "ridge", "svm", "forest" or "nearest-mean".
        regularisation: λ = 1/C of a linear head (ridge: scikit-learn's alpha); by default 1.
        trees: of a forest; by default 100.
        head_seed: of a head that draws at random, the forest (its name is not ``seed``, as that would have every head
            evaluated seed by seed; in a comparison, ask for ``head_seed={seed}``).
        solver: "auto" (all tasks at once where there is such a solver), "batched" or "scikit-learn".
        normalise: "l2" or "none".
        features, combine, batch_norm, workers: as for ``NearestNeighbour``.

    Raises:
        MetaftError: if an option is unknown or not of this head, or a layer does not exist.
    """

    def __init__(
        self,
        model: nn.Module | None = None,
        *,
        head: str = "logistic",
        regularisation: float | None = None,
        trees: int | None = None,
        head_seed: int = 0,
        solver: str = "auto",
        normalise: Normalise = "l2",
        features: str | None = None,
        combine: Combine = "concatenate",
        batch_norm: BatchNormMode = "running",
        workers: int = 1,
    ) -> None:
        self.head_name = head
        fitted = build_head(head, solver, head_seed, regularisation=regularisation, trees=trees)
        embedding = Embedding(model, features, combine, batch_norm, normalise=normalise)
        super().__init__("feature-extraction", embedding, fitted, workers)

    def describe(self) -> dict[str, object]:
        """Its settings, flat."""
        return {**super().describe(), "head": self.head_name}
