"""Labels that are not certain: how probable it is that the first answer of a pair is the better one."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor


def expected(loss: Callable[[Tensor], Tensor], values: Tensor, target: Tensor | None) -> Tensor:
    """p ℓ(first better) + (1 − p) ℓ(second better): a cross-entropy with soft targets where ℓ is −log σ.

    With −log σ and p = 1 − ε it is label smoothing by ε; at p = 1 the plain loss, at p = 0 that of the pair the other
    way round (Lee et al. 2023, §2.2; Mitchell 2023, eq. 3).

    Args:
        loss: of pairs whose first answer is the better one, ``[pairs, 2]`` to ``[pairs]``.
        values: of both answers, ``[pairs, 2]``, such as rewards.
        target: p, ``[pairs]``; None for 1.

    Returns:
        ``[pairs]``.
    """
    if target is None:
        return loss(values)
    p = target.to(values.dtype)
    return p * loss(values) + (1 - p) * loss(values.flip(-1))
