"""Compacters: adapters of sums of Kronecker products, whose first factors all layers share (Mahabadi et al. 2021)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from metaft.additions.adapter import ACTIVATIONS, Activation, require_bottleneck
from metaft.additions.addition import Addition, Params, Piece
from metaft.additions.small_networks import Place, with_small_networks
from metaft.errors import MetaftError
from metaft.validate import require_count


@dataclass(frozen=True)
class Compacter(Addition):
    """Adapters whose two matrices are each Σᵢ Aᵢ ⊗ Lᵢ Rᵢ, i = 1 … n; A ``[n, n, n]`` is one for all of them.

    Karimi Mahabadi et al. 2021, "Compacter: efficient low-rank hypercomplex adapter layers", §4, eq. 5 and 7: a place
    for d numbers with a bottleneck of k has (2 r + 1) (d + k) parameters of its own. ``place=houlsby`` is Compacter,
    ``place=pfeiffer`` Compacter++; where those are, see `Adapter`. The matrices are never made: a product with one
    takes r n (d + n² + k) multiplications, not d k.

    Deviations: R of the second matrix begins at 0, so that nothing changes at the start; A is drawn with variance 1/n
    and L and the other R such that the product keeps the variance of what it reads.

    Args:
        place: "houlsby", "pfeiffer" or "parallel"; "houlsby" if None. Only for transformers.
        width: of the bottleneck, a multiple of n.
        reduction: the bottleneck is so many times narrower, rounded up to a multiple of n; 32 if neither is given.
        n: how many products, and how wide A; the sizes of layers must be multiples of it.
        rank: r, how many columns L has.
        activation: "relu", "gelu", "silu", "tanh" or "none".
        scale: of what the adapter adds.

    Raises:
        MetaftError: if an option is unknown, a number below 1, the width no multiple of n, the scale not positive, or
            both width and reduction are given.
    """

    place: Place | None = None
    width: int | None = None
    reduction: int | None = None
    n: int = 4
    rank: int = 1
    activation: Activation = "gelu"
    scale: float = 1.0
    name: ClassVar[str] = "compacter"

    def __post_init__(self) -> None:
        require_bottleneck(self.name, self.place, self.width, self.reduction, self.activation, self.scale)
        require_count(self.n, "n of compacter", 1)
        require_count(self.rank, "the rank of compacter", 1)
        if self.width is not None and self.width % self.n:
            raise MetaftError(f"compacter: width = {self.width} must be a multiple of n = {self.n}")

    def sites(self, model: nn.Module) -> Mapping[str, Piece]:
        """As of `Adapter`.

        Raises:
            MetaftError: if the network has no such place, or a layer's size is no multiple of n.
        """
        return with_small_networks(model, self.place, self._bottleneck, self.name, shared=("A",))

    def _bottleneck(self, size: int, layer: str) -> KroneckerBottleneck:
        if size % self.n:
            raise MetaftError(
                f"compacter: {layer!r} has {size} numbers, which is no multiple of n = {self.n}; give another n"
            )
        width = self.width or self.n * math.ceil(size / (self.reduction or 32) / self.n)
        return KroneckerBottleneck(size, width, self.n, self.rank, self.activation, self.scale)


@dataclass(frozen=True)
class KroneckerBottleneck:
    """s · (U φ(D x + d) + u), where Dᵀ and Uᵀ are Σᵢ Aᵢ ⊗ Lᵢ Rᵢ.

    Args:
        size: how many numbers x has.
        width: how many numbers D answers with.
        n: how many products.
        rank: of L R.
        activation: φ.
        scale: s.
    """

    size: int
    width: int
    n: int
    rank: int
    activation: Activation
    scale: float

    def create(self, draw: torch.Generator) -> Params:
        """A, L and the first R from normal distributions; the rest 0."""
        n, r = self.n, self.rank
        normal = lambda *shape, variance: variance**0.5 * torch.randn(shape, generator=draw)
        return {
            "A": normal(n, n, n, variance=1 / n),
            "down_left": normal(n, self.size // n, r, variance=1 / self.size),
            "down_right": normal(n, r, self.width // n, variance=1 / r),
            "down_bias": torch.zeros(self.width),
            "up_left": normal(n, self.width // n, r, variance=1 / self.width),
            "up_right": torch.zeros(n, r, self.size // n),
            "up_bias": torch.zeros(self.size),
        }

    def __call__(self, own: Params, x: Tensor) -> Tensor:
        """``[..., size]`` → ``[..., size]``."""
        hidden = _multiplied(x, own["A"], own["down_left"], own["down_right"]) + own["down_bias"]
        hidden = ACTIVATIONS[self.activation](hidden)
        return self.scale * (_multiplied(hidden, own["A"], own["up_left"], own["up_right"]) + own["up_bias"])


def _multiplied(x: Tensor, a: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """x Σᵢ Aᵢ ⊗ Lᵢ Rᵢ, the thin factor first."""
    x = torch.einsum("...ak,ikr->...air", x.unflatten(-1, (a.shape[1], -1)), left)
    x = torch.einsum("...air,iac->...cir", x, a)
    return torch.einsum("...cir,irp->...cp", x, right).flatten(-2)
