"""Functions of torch without a second derivative, or with a wrong one, written out: plain autograd is then the truth.

Each gives what torch's own gives (tests/any_module/test_reference.py); none is the engine's own way of writing them.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode


def hardsigmoid(x: Tensor, inplace: bool = False) -> Tensor:
    """Straight from 0 at −3 to 1 at 3."""
    return (x / 6 + 0.5).clamp(0, 1)


def pdist(x: Tensor, p: float = 2.0) -> Tensor:
    """Distances of all pairs of rows."""
    a, b = torch.triu_indices(len(x), len(x), 1)
    return (x[a] - x[b]).abs().pow(p).sum(-1).pow(1 / p)


def embedding_bag(
    words: Tensor,
    table: Tensor,
    offsets: Tensor | None = None,
    max_norm: float | None = None,
    norm_type: float = 2,
    scale_grad_by_freq: bool = False,
    mode: str = "mean",
    sparse: bool = False,
    per_sample_weights: Tensor | None = None,
    include_last_offset: bool = False,
    padding_idx: int | None = None,
) -> Tensor:
    """One bag after another."""
    assert max_norm is None
    assert not scale_grad_by_freq
    if offsets is None:
        bags = list(words)
        weights = [None] * len(bags) if per_sample_weights is None else list(per_sample_weights)
    else:
        ends = [*offsets.tolist(), len(words)][: len(offsets) + (not include_last_offset)]
        bags = [words[a:b] for a, b in pairwise(ends)]
        weights = [None] * len(bags)
    gather = {"sum": lambda rows: rows.sum(0), "mean": lambda rows: rows.mean(0), "max": lambda rows: rows.amax(0)}[
        mode
    ]

    def one(bag: Tensor, weight: Tensor | None) -> Tensor:
        kept = torch.ones_like(bag, dtype=torch.bool) if padding_idx is None else bag != padding_idx
        rows = table[bag[kept]]
        if weight is not None:
            rows = rows * weight[kept].unsqueeze(1)
        return gather(rows) if len(rows) else torch.zeros_like(table[0])

    return torch.stack([one(bag, weight) for bag, weight in zip(bags, weights, strict=True)])


def cdist(a: Tensor, b: Tensor, p: float = 2.0, **options: Any) -> Tensor:
    """Distances between all rows of one and all of the other."""
    return (a.unsqueeze(-2) - b.unsqueeze(-3)).abs().pow(p).sum(-1).pow(1 / p)


def multi_margin(
    x: Tensor, y: Tensor, p: int = 1, margin: float = 1.0, weight: Tensor | None = None, **options: Any
) -> Tensor:
    """Every other class is to stay a margin below the right one."""
    rows = torch.arange(len(x))
    missed = (margin - x[rows, y].unsqueeze(1) + x).clamp(min=0).pow(p)
    if weight is not None:
        missed = missed * weight[y].unsqueeze(1)
    others = F.one_hot(y, x.shape[1]) == 0
    return (missed * others).sum() / x.numel()


def multilabel_margin(x: Tensor, y: Tensor, *options: Any, **named: Any) -> Tensor:
    """Every class that is not named is to stay 1 below each that is; the first −1 ends the names."""
    total = x.new_zeros(())
    for scores, names in zip(x, y.tolist(), strict=True):
        named_ones = names[: names.index(-1)] if -1 in names else names
        for i in set(range(x.shape[1])) - set(named_ones):
            for j in named_ones:
                total = total + (1 - scores[j] + scores[i]).clamp(min=0)
    return total / x.numel()


def weight_norm(v: Tensor, g: Tensor, dim: int = 0) -> Tensor:
    """A direction and a length for each slice along ``dim``, one for all if it is −1.

    The second derivative of torch's own is wrong, without a word (``torch.autograd.gradgradcheck`` tells).
    """
    if dim == -1:
        return g * v / v.square().sum().sqrt()
    return g * v / v.square().sum([axis for axis in range(v.dim()) if axis != dim], keepdim=True).sqrt()


WRITTEN: dict[Callable[..., Any], Callable[..., Any]] = {
    F.hardsigmoid: hardsigmoid,
    F.multi_margin_loss: multi_margin,
    F.multilabel_margin_loss: multilabel_margin,
    torch._weight_norm: weight_norm,
    torch.cdist: cdist,
    F.pdist: pdist,
    torch.pdist: pdist,
    F.embedding_bag: embedding_bag,
}


class WrittenOut(TorchFunctionMode):
    """Within this context those functions are the written ones."""

    def __torch_function__(self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Replace some, let everything else pass."""
        return WRITTEN.get(func, func)(*args, **(kwargs or {}))
