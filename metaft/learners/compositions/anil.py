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

    Args, Returns and Raises are those of ``maml``; another scope than the head is refused.
    """
    return compose("anil", model, inner_lr, steps, parts, fixed={"scope": "head"})
