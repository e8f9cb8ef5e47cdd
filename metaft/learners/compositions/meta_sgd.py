"""Meta-SGD: the rate of every parameter is meta-trained with it (Li, Zhou, Chen & Li 2017)."""

from __future__ import annotations

from typing import Unpack

from torch import nn

from metaft.learners.compositions.compose import Parts, compose
from metaft.learners.maml import MAML


def meta_sgd(model: nn.Module, *, inner_lr: float = 0.05, steps: int = 1, **parts: Unpack[Parts]) -> MAML:
    """MAML with a learned rate for every parameter: all × **Meta-SGD** × task loss × exact.

    Li, Zhou, Chen & Li 2017, "Meta-SGD: Learning to learn quickly for few-shot learning", eq. 2 and alg. 1.

    Published: 1 step throughout; rates start at random in [0.005, 0.1]. Deviation: all start at ``inner_lr``, by
    default the middle of that range. Rates and weights have one outer rate, as there.

    Args, Returns and Raises are those of ``maml``; ``inner_lr`` is where all rates start, and every step has the same.
    Another rule is refused.
    """
    return compose("meta-sgd", model, inner_lr, steps, parts, fixed={"rule": "meta-sgd"})
