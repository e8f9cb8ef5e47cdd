"""Features in a basis in which all directions have the same size, so that a solver's end does not depend on theirs."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Principal:
    """Features X = U diag(σ) Vᵀ of each task: its principal directions (Hotelling 1933).

    A linear head W with a penalty λ/2 ‖W‖² lies in the span of the examples (the representer theorem), W = V diag(1/σ)
    W', so that X W = U W' and ‖W‖² = Σⱼ (W'ⱼ/σⱼ)²: what is minimised stays the same, the penalty is still the original
    weights', and the columns of U are orthonormal whatever the size of the features or of one of them.

    Args:
        points: U, ``[*tasks, support, rank]``; zero in directions that hold nothing but rounding.
        sizes: σ, ``[*tasks, rank]``; 1 in those directions.
        basis: V, ``[*tasks, width, rank]``.
    """

    points: Tensor
    sizes: Tensor
    basis: Tensor

    def penalties(self, strength: float | Tensor) -> Tensor:
        """λ/σⱼ², ``[*tasks, rank]``: what the penalty λ ‖W‖² is for W'."""
        return strength / self.sizes.square()

    def weights(self, found: Tensor) -> Tensor:
        """W ``[*tasks, width, outputs]`` from W' ``[*tasks, rank, outputs]``."""
        return self.basis @ (found / self.sizes.unsqueeze(-1))


def principal(x: Tensor) -> Principal:
    """Take features apart.

    Args:
        x: ``float64 [*tasks, support, width]``.

    Returns:
        Their parts; the rank is at most the smaller of support and width.
    """
    outer = None
    if x.shape[-2] < x.shape[-1]:  # few examples of many features: in the basis of what they span
        outer, inner = torch.linalg.qr(x.mT)
        x = inner.mT
    points, sizes, basis = torch.linalg.svd(x, full_matrices=False)
    resolved = torch.finfo(x.dtype).eps * max(x.shape[-2:]) * sizes.amax(-1, keepdim=True)
    held = sizes > resolved
    basis = basis.mT if outer is None else outer @ basis.mT
    return Principal(points * held.unsqueeze(-2), torch.where(held, sizes, 1.0), basis)
