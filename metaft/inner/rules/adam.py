"""Adam as an inner rule, differentiable everywhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from metaft.errors import MetaftError
from metaft.inner.rules.rule import Params, State
from metaft.validate import require_fraction, require_positive


@dataclass(frozen=True)
class Adam:
    """θ ← θ − α m̂ / (√(v̂ + ε₀) + ε) (Kingma & Ba 2015, alg. 1).

    Deviation: ε₀ under the root, without which the derivative of the root is infinite where a gradient is zero
    (a dead ReLU is enough), and the meta-gradient is NaN. optax and TorchOpt have the same ``eps_root``.

    Args:
        lr: the inner rate α.
        beta1: decay of the first moment.
        beta2: decay of the second moment.
        eps: ε.
        eps_root: ε₀ > 0.

    Raises:
        MetaftError: if one of them is out of range.
    """

    lr: float
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    eps_root: float = 1e-8
    uses_gradient: ClassVar[bool] = True
    counts_steps: ClassVar[bool] = True
    only_adds: ClassVar[bool] = True
    rates_by_step: ClassVar[bool] = False

    def __post_init__(self) -> None:
        require_positive(self.lr, "the inner rate")
        require_fraction(self.beta1, "beta1")
        require_fraction(self.beta2, "beta2")
        if not (self.eps_root > 0 and self.eps >= 0):
            raise MetaftError(f"eps_root must be above 0 and eps not below 0, not {self.eps_root!r} and {self.eps!r}")

    def learned(self, params: Params) -> Params:
        """Nothing."""
        return {}

    def init(self, params: Params) -> State:
        """Both moments are 0."""
        return {moment: {name: torch.zeros_like(p) for name, p in params.items()} for moment in ("first", "second")}

    def step(self, k: int, params: Params, state: State, grads: Params, learned: Params) -> tuple[Params, State]:
        """One bias-corrected step."""
        first = {n: self.beta1 * m + (1 - self.beta1) * grads[n] for n, m in state["first"].items()}
        second = {n: self.beta2 * v + (1 - self.beta2) * grads[n].square() for n, v in state["second"].items()}
        of_first, of_second = 1 - self.beta1 ** (k + 1), 1 - self.beta2 ** (k + 1)
        moved = {
            n: p - self.lr * (first[n] / of_first) / ((second[n] / of_second + self.eps_root).sqrt() + self.eps)
            for n, p in params.items()
        }
        return moved, {"first": first, "second": second}
