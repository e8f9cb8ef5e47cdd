"""Inner-loop rules by name; a new one is one file and one line here."""

from __future__ import annotations

from collections.abc import Callable

from metaft.inner.rules.adam import Adam
from metaft.inner.rules.lslr import LSLR
from metaft.inner.rules.meta_curvature import MetaCurvature
from metaft.inner.rules.meta_sgd import MetaSGD
from metaft.inner.rules.momentum import Momentum
from metaft.inner.rules.rmsprop import RMSProp
from metaft.inner.rules.rule import LEARNED, Params, Rule, State
from metaft.inner.rules.sgd import SGD

__all__ = [
    "LEARNED",
    "LSLR",
    "RULES",
    "SGD",
    "Adam",
    "MetaCurvature",
    "MetaSGD",
    "Momentum",
    "Params",
    "RMSProp",
    "Rule",
    "State",
]

# name → (rate, inner steps) → rule
RULES: dict[str, Callable[[float, int], Rule]] = {
    "sgd": lambda lr, steps: SGD(lr),
    "momentum": lambda lr, steps: Momentum(lr),
    "adam": lambda lr, steps: Adam(lr),
    "rmsprop": lambda lr, steps: RMSProp(lr),
    "meta-sgd": lambda lr, steps: MetaSGD(lr),
    "lslr": lambda lr, steps: LSLR(lr, max(steps, 1)),
    "meta-curvature": lambda lr, steps: MetaCurvature(lr),
}
