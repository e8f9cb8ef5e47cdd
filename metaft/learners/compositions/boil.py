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

    Published: α = 0.5 and 1 step on the mean loss, for all their natural images; nothing on Omniglot or the sinusoid,
    where the rate is the same and MAML's.

    Args:
        model: any module; it is copied. Its head is its last block of parameters.
        inner_lr: the inner rate α, on the mean support loss.
        steps: inner steps K in meta-training.
        parts: the other parts are free, see ``Parts``.

    Returns:
        The learner.

    Raises:
        MetaftError: if the scope is another, or the parts do not go together.
    """
    return compose("boil", model, inner_lr, steps, parts, fixed={"scope": "body"})
