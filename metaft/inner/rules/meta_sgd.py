"""Meta-SGD: a learned rate for every parameter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from metaft.inner.rules.rule import LEARNED, Params, Plain, State
from metaft.validate import require_positive


@dataclass(frozen=True)
class MetaSGD(Plain):
    """θ ← θ − α ∘ ∇L(θ), α shaped like θ and meta-trained with it (Li et al. 2017, eq. 2).

    Deviation: every rate starts at the same ``lr`` rather than at a random one. Rates may become negative, as there.

    Args:
        lr: where all rates start.

    Raises:
        MetaftError: if it is not a positive finite number.
    """

    lr: float
    uses_gradient: ClassVar[bool] = True
    counts_steps: ClassVar[bool] = False

    def __post_init__(self) -> None:
        require_positive(self.lr, "the inner rate")

    def learned(self, params: Params) -> Params:
        """One rate a parameter: ``rule:NAME``, shaped like the parameter."""
        return {LEARNED + name: torch.full_like(value, self.lr) for name, value in params.items()}

    def step(self, k: int, params: Params, state: State, grads: Params, learned: Params) -> tuple[Params, State]:
        """θ − α ∘ g, name by name."""
        return {name: value - learned[LEARNED + name] * grads[name] for name, value in params.items()}, state
