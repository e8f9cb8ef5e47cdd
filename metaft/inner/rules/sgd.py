"""Plain gradient descent, the inner rule of MAML."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from metaft.inner.rules.rule import Params, Plain, State
from metaft.validate import require_positive


@dataclass(frozen=True)
class SGD(Plain):
    """θ ← θ − α ∇L(θ) (Finn et al. 2017, eq. 1).

    Args:
        lr: the inner rate α, for a loss that is a *mean* over examples. Published code that sums the loss over
            examples and divides by the shots has rates smaller by a factor of the ways.

    Raises:
        MetaftError: if the rate is not a positive finite number.
    """

    lr: float
    counts_steps: ClassVar[bool] = False
    only_adds: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require_positive(self.lr, "the inner rate")

    def step(self, k: int, params: Params, state: State, grads: Params, learned: Params) -> tuple[Params, State]:
        """θ − α g, name by name."""
        return {name: value - self.lr * grads[name] for name, value in params.items()}, state
