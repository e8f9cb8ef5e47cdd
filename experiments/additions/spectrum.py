"""How many directions a change of a matrix has: its singular values, and what of them a low rank would hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor


def spectrum(before: Tensor, after: Tensor) -> Tensor:
    """The singular values of ΔW = after − before.

    Args:
        before: ``[outputs, inputs]``, or of a convolution ``[filters, inputs, *window]``, whose window is part of the
            inputs.
        after: likewise.

    Returns:
        ``float64 [min(outputs, inputs)]``, falling.
    """
    moved = (after.double() - before.double()).flatten(1)
    return torch.linalg.svdvals(moved)


def energy(values: Tensor, ranks: Sequence[int]) -> list[float]:
    """The share of ‖ΔW‖² that the best matrix of each rank holds, Σ_{i ≤ r} σ_i² / Σ σ_i² (Eckart & Young 1936).

    Args:
        values: ``[n]``, falling, as from ``spectrum``.
        ranks: r of each.

    Returns:
        From 0 to 1 each; 1 for a matrix that did not move.
    """
    squares = values.square()
    total = float(squares.sum())
    return [float(squares[:rank].sum()) / total if total else 1.0 for rank in ranks]


def effective_rank(values: Tensor) -> float:
    """exp H(p) with p_i = σ_i / Σ σ (Roy & Vetterli 2007, "The effective rank", eq. 3).

    Args:
        values: ``[n]``, as from ``spectrum``.

    Returns:
        From 1 (one direction) to n (all alike); 0 for a matrix that did not move.
    """
    total = values.sum()
    if not total:
        return 0.0
    p = values / total
    return float(torch.exp(-torch.special.xlogy(p, p).sum()))


def moved_matrices(
    before: Mapping[str, Tensor], after: Mapping[str, Tensor], names: Sequence[str]
) -> dict[str, tuple[Tensor, float]]:
    """What training moved, matrix by matrix.

    Args:
        before: weights by name.
        after: likewise.
        names: of matrices.

    Returns:
        Name → singular values of ΔW, and ‖ΔW‖ / ‖W‖.
    """
    return {
        name: (spectrum(before[name], after[name]), float((after[name] - before[name]).norm() / before[name].norm()))
        for name in names
    }
