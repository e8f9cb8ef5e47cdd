"""LSLR: learned rates per layer and per step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from metaft.inner.rules.rule import LEARNED, Params, Plain, State
from metaft.validate import require_count, require_positive


@dataclass(frozen=True)
class LSLR(Plain):
    """θ_l ← θ_l − α_{l,k} ∇L(θ): one learned rate for each parameter tensor l and step k (Antoniou et al. 2019, §4).

    Args:
        lr: where all rates start.
        steps: how many steps have a rate of their own; steps beyond them (more at test than in training) use the last.

    Raises:
        MetaftError: if the rate is not a positive finite number or steps < 1.
    """

    lr: float
    steps: int
    uses_gradient: ClassVar[bool] = True
    counts_steps: ClassVar[bool] = False
    rates_by_step: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require_positive(self.lr, "the inner rate")
        require_count(self.steps, "inner steps", 1)

    def learned(self, params: Params) -> Params:
        """``rule:NAME``, a vector of one rate a step."""
        return {LEARNED + name: value.new_full((self.steps,), self.lr) for name, value in params.items()}

    def step(self, k: int, params: Params, state: State, grads: Params, learned: Params) -> tuple[Params, State]:
        """θ − α_k g, name by name."""
        at = min(k, self.steps - 1)
        return {name: value - learned[LEARNED + name][at] * grads[name] for name, value in params.items()}, state
