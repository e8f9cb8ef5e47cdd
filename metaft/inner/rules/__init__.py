"""Inner-loop rules; the table of their names is ``metaft.tables.RULES``."""

from __future__ import annotations

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
