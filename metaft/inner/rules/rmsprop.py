"""RMSProp, which is Adam without its first moment."""

from __future__ import annotations

from dataclasses import dataclass

from metaft.inner.rules.adam import Adam


@dataclass(frozen=True)
class RMSProp(Adam):
    """Adam with β1 = 0, the inner rule of Reptile's authors (Nichol et al. 2018).

    Args:
        lr: the inner rate α.
        beta1: decay of the first moment, none by default.
        beta2, eps, eps_root: as for ``Adam``.

    Raises:
        MetaftError: if one of them is out of range.
    """

    beta1: float = 0.0
