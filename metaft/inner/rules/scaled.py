"""Another rule with a rate of its own for some parameters, a head for instance."""

from __future__ import annotations

from dataclasses import dataclass

from metaft.inner.rules.rule import Params, Rule, State
from metaft.validate import require_positive


@dataclass(frozen=True)
class Scaled:
    """θ ← θ + c (rule(θ) − θ) for the named parameters, the rule itself for the others (Howard & Ruder 2018, §3.2).

    For SGD, momentum and Adam that is the rule with its rate multiplied by c.

    Args:
        rule: the rule.
        factor: c > 0.
        names: the parameters it holds for.

    Raises:
        MetaftError: if the factor is not a positive finite number.
    """

    rule: Rule
    factor: float
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        require_positive(self.factor, "the inner rate")

    @property
    def uses_gradient(self) -> bool:
        """As the rule itself."""
        return self.rule.uses_gradient

    @property
    def counts_steps(self) -> bool:
        """As the rule itself."""
        return self.rule.counts_steps

    @property
    def rates_by_step(self) -> bool:
        """As the rule itself."""
        return self.rule.rates_by_step

    def learned(self, params: Params) -> Params:
        """As the rule itself."""
        return self.rule.learned(params)

    def init(self, params: Params) -> State:
        """As the rule itself."""
        return self.rule.init(params)

    def step(self, k: int, params: Params, state: State, grads: Params, learned: Params) -> tuple[Params, State]:
        """The rule's step, longer or shorter for the named parameters."""
        moved, state = self.rule.step(k, params, state, grads, learned)
        longer = {
            name: params[name] + self.factor * (moved[name] - params[name]) for name in self.names if name in moved
        }
        return moved | longer, state
