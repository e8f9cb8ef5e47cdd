"""ANIL, almost no inner loop: the head adapts (Raghu, Raghu, Bengio & Vinyals 2020)."""

from __future__ import annotations

from typing import Unpack

from torch import nn

from metaft.learners.compositions.compose import Parts, compose
from metaft.learners.maml import MAML


def anil(model: nn.Module, *, inner_lr: float = 2.0, steps: int = 1, **parts: Unpack[Parts]) -> MAML:
    """MAML whose inner loop moves the last layer alone: **head** × SGD × task loss × exact.

    Raghu, Raghu, Bengio & Vinyals 2020, "Rapid learning or feature reuse? Towards understanding the effectiveness of
    MAML", §4 and eq. 2. The outer loop trains everything, features included. As there, rate and steps are MAML's.

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
    return compose("anil", model, inner_lr, steps, parts, fixed={"scope": "head"})
