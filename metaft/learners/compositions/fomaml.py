"""FOMAML: MAML with the query gradient at the adapted parameters for a meta-gradient (Finn et al. 2017, §5.2)."""

from __future__ import annotations

from typing import Unpack

from torch import nn

from metaft.learners.compositions.compose import Parts, compose
from metaft.learners.maml import MAML


def fomaml(model: nn.Module, *, inner_lr: float = 0.3, steps: int = 1, **parts: Unpack[Parts]) -> MAML:
    """MAML that takes every inner gradient for a constant: all × SGD × task loss × **first-order**.

    Finn, Abbeel & Levine 2017, §5.2; steps as theirs for MAML. Their rate is MAML's and published on mini-ImageNet; on
    Omniglot our training does not learn with it, and the rates are ours, chosen on validation classes: 0.3 at 5 ways
    and 1.0 at 20.

    Args, Returns and Raises are those of ``maml``; another estimator is refused.
    """
    return compose("fomaml", model, inner_lr, steps, parts, fixed={"estimator": "first-order"})
