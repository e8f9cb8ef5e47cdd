"""Meta-Curvature: the inner gradient is multiplied by learned matrices (Park & Oliva 2019)."""

from __future__ import annotations

from typing import Unpack

from torch import nn

from metaft.learners.compositions.compose import Parts, compose
from metaft.learners.maml import MAML


def meta_curvature(model: nn.Module, *, inner_lr: float = 2.0, steps: int = 1, **parts: Unpack[Parts]) -> MAML:
    """MAML whose gradients pass through learned matrices: all × **Meta-Curvature** × task loss × exact.

    Park & Oliva 2019, "Meta-Curvature", eq. 6 and alg. 1; the rule has the details. It starts as MAML, and rate and
    steps are MAML's.

    Args, Returns and Raises are those of ``maml``; every step has the same matrices. Another rule is refused.
    """
    return compose("meta-curvature", model, inner_lr, steps, parts, fixed={"rule": "meta-curvature"})
