"""MAML: everything adapts by gradient descent, differentiated through exactly (Finn, Abbeel & Levine 2017)."""

from __future__ import annotations

from typing import Unpack

from torch import nn

from metaft.learners.compositions.compose import Parts, compose
from metaft.learners.maml import MAML


def maml(model: nn.Module, *, inner_lr: float = 2.0, steps: int = 1, **parts: Unpack[Parts]) -> MAML:
    """An initialisation from which a few gradient steps suffice: all × SGD × task loss × exact, each of them free.

    Finn, Abbeel & Levine 2017, "Model-agnostic meta-learning for fast adaptation of deep networks", alg. 1 and 2; see
    the class ``MAML`` for deviations.

    Published: Omniglot 5-way α = 0.4, 1 step (3 at test); 20-way α = 0.1, 5 steps; mini-ImageNet 5-way α = 0.01, 5
    steps (10 at test); the sinusoid α = 0.01, 1 step. Their classification code sums the support loss over classes, so
    on our mean its rates are × ways: 2.0, 2.0 and 0.05.

    Args:
        model: any module; it is copied.
        inner_lr: the inner rate α, on the mean support loss.
        steps: inner steps K in meta-training.
        parts: any choice of scope, rule, objective and estimator, see ``Parts``.

    Returns:
        The learner.

    Raises:
        MetaftError: if the parts do not go together.
    """
    return compose("maml", model, inner_lr, steps, parts)
