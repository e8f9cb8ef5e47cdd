"""BOIL, body only in the inner loop: features adapt and the head stays (Oh, Yoo, Kim & Yun 2021)."""

from __future__ import annotations

from typing import Unpack

from torch import nn

from metaft.learners.compositions.compose import Parts, compose
from metaft.learners.maml import MAML


def boil(model: nn.Module, *, inner_lr: float = 0.5, steps: int = 1, **parts: Unpack[Parts]) -> MAML:
    """MAML whose inner loop moves all but the last layer: **body** × SGD × task loss × exact.

    Oh, Yoo, Kim & Yun 2021, "BOIL: Towards representation change for few-shot learning", §3. The outer loop trains
    everything, the head included, which is the same for all tasks.

    Published: α = 0.5 and 1 step on the mean loss, for their natural images with Conv4, by their scripts (with
    ResNet-12 α = 0.3); nothing on Omniglot or the sinusoid, where the rate is the same and MAML's.

    Args, Returns and Raises are those of ``maml``; another scope than the body is refused.
    """
    return compose("boil", model, inner_lr, steps, parts, fixed={"scope": "body"})
