"""The linearised network: a generalised linear model on derivative features."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor
from torch.func import jvp

from metaft.inner.rules import Params


def linearised(answer: Callable[[Params], Tensor], point: Params, params: Params) -> Tensor:
    """f(θ_0) + J(θ_0) (θ − θ_0): the first-order expansion of a network in its parameters.

    Linear in θ with the derivatives ∂f/∂θ at θ_0 as features, so cross-entropy or squared error makes of it a
    generalised linear model, and of the pretrained network what supplies the features (Mu, Liang & Li 2020, eq. 3;
    Maddox et al. 2021, eq. 1). One forward-mode derivative; the Jacobian is never formed.

    Args:
        answer: the network on some fixed inputs, ``answer(params) → predictions``.
        point: θ_0, the parameters to expand about.
        params: θ, named alike.

    Returns:
        Predictions, shaped like the network's.
    """
    away = {name: params[name] - start for name, start in point.items()}
    value, slope = jvp(answer, (point,), (away,))[:2]
    return value + slope
