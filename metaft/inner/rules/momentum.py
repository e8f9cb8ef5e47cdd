"""Gradient descent with momentum."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from metaft.inner.rules.rule import Params, State
from metaft.validate import require_fraction, require_positive


@dataclass(frozen=True)
class Momentum:
    """m ← μ m + ∇L(θ), θ ← θ − α m (Polyak 1964, in torch.optim.SGD's form).

    Args:
        lr: the inner rate α.
        momentum: μ in [0, 1).

    Raises:
        MetaftError: if the rate or μ is out of range.
    """

    lr: float
    momentum: float = 0.9
    uses_gradient: ClassVar[bool] = False
    counts_steps: ClassVar[bool] = False
    only_adds: ClassVar[bool] = True
    rates_by_step: ClassVar[bool] = False

    def __post_init__(self) -> None:
        require_positive(self.lr, "the inner rate")
        require_fraction(self.momentum, "momentum")

    def learned(self, params: Params) -> Params:
        """Nothing."""
        return {}

    def init(self, params: Params) -> State:
        """m = 0."""
        return {"momentum": {name: torch.zeros_like(value) for name, value in params.items()}}

    def step(self, k: int, params: Params, state: State, grads: Params, learned: Params) -> tuple[Params, State]:
        """One step with velocity."""
        velocity = {name: self.momentum * m + grads[name] for name, m in state["momentum"].items()}
        return {name: value - self.lr * velocity[name] for name, value in params.items()}, {"momentum": velocity}
