"""Inner-loop rules: how one step moves the adapting parameters. Each is a pair of pure functions over a state."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from metaft.errors import MetaftError

Params = dict[str, Tensor]
State = dict[str, Tensor]


class Rule(Protocol):
    """One inner step as a differentiable map; a rule is a frozen value, its state travels beside the parameters."""

    def init(self, params: Params) -> State:
        """The state before the first step."""
        ...

    def step(self, params: Params, state: State, grads: Params) -> tuple[Params, State]:
        """Move the parameters once."""
        ...


@dataclass(frozen=True)
class SGD:
    """Plain gradient descent, θ ← θ − α ∇L(θ) (Finn et al. 2017, eq. 1).

    Args:
        lr: the inner rate α, for a loss that is a *mean* over examples. Published code that sums the loss over
            examples and divides by the shots has rates smaller by a factor of the ways.

    Raises:
        MetaftError: if the rate is not a positive finite number.
    """

    lr: float

    def __post_init__(self) -> None:
        if not (self.lr > 0 and math.isfinite(self.lr)):
            raise MetaftError(f"the inner rate must be positive and finite, not {self.lr}")

    def init(self, params: Params) -> State:
        """SGD remembers nothing."""
        return {}

    def step(self, params: Params, state: State, grads: Params) -> tuple[Params, State]:
        """θ − α g, name by name."""
        return {name: value - self.lr * grads[name] for name, value in params.items()}, state
