"""Functions of torch without a second derivative, or whose batched one is wrong, written out.

The signatures are torch's. Each is what torch's is, value and first derivative, so far as that is right.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from metaft.errors import MetaftError


def embedding(
    input: Tensor,
    weight: Tensor,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Tensor:
    """``F.embedding``; batched over tasks, torch's own forgets which row is padding.

    Args:
        input: ``int64``, any shape.
        weight: ``[words, width]``.
        padding_idx: a row that has no gradient.
        max_norm: refused.
        norm_type: has no effect.
        scale_grad_by_freq: refused.
        sparse: has no effect: gradients are dense, as sparse ones have no derivative.

    Returns:
        ``[*input, width]``.

    Raises:
        MetaftError: for what makes the gradient another function's, or changes the weights.
    """
    _require_plain("embedding", max_norm, scale_grad_by_freq)
    rows = F.embedding(input, weight)
    if padding_idx is None:
        return rows
    padding = padding_idx if padding_idx >= 0 else len(weight) + padding_idx
    return torch.where((input == padding).unsqueeze(-1), rows.detach(), rows)


def embedding_bag(
    input: Tensor,
    weight: Tensor,
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
    """``F.embedding_bag``: sums, means or maxima of rows.

    Args:
        input: ``int64 [bags, words]``, or ``[words]`` with ``offsets``.
        weight: ``[words, width]``.
        offsets: ``int64 [bags]``, where each bag begins.
        max_norm: refused.
        norm_type: has no effect.
        scale_grad_by_freq: refused.
        mode: "sum", "mean" or "max".
        sparse: has no effect.
        per_sample_weights: like ``input``, for mode "sum".
        include_last_offset: the last offset is where the last bag ends.
        padding_idx: a row that is left out.

    Returns:
        ``[bags, width]``, zeros for an empty bag.

    Raises:
        MetaftError: as ``embedding``.
    """
    _require_plain("embedding bag", max_norm, scale_grad_by_freq)
    counted = torch.ones_like(input, dtype=torch.bool)
    if padding_idx is not None:
        counted = input != (padding_idx if padding_idx >= 0 else len(weight) + padding_idx)
    rows = F.embedding(input, weight)
    if per_sample_weights is not None:
        rows = rows * per_sample_weights.unsqueeze(-1)
    if offsets is None:
        member, rows = counted.unsqueeze(-1), rows  # [bags, words, 1]
    else:
        starts = offsets[:-1] if include_last_offset else offsets
        place = torch.arange(len(input), device=input.device)
        ends = torch.cat([starts[1:], offsets[-1:] if include_last_offset else place.new_full((1,), len(input))])
        within = (place >= starts.unsqueeze(-1)) & (place < ends.unsqueeze(-1))
        member = (within & counted).unsqueeze(-1)  # [bags, all words, 1]
    if mode == "max":
        best = torch.where(member, rows, -torch.inf).amax(1)
        return torch.where(member.any(1), best, 0.0)
    total = torch.where(member, rows, 0.0).sum(1)
    return total if mode == "sum" else total / member.sum(1).clamp(min=1)


def hardsigmoid(input: Tensor, inplace: bool = False) -> Tensor:
    """``F.hardsigmoid``: x/6 + 1/2 between 0 and 1."""
    return (input / 6 + 0.5).clamp(0, 1)


def cdist(x1: Tensor, x2: Tensor, p: float = 2.0, compute_mode: str | None = None) -> Tensor:
    """``torch.cdist``: p-norm distances ``[..., rows, other rows]``; where it is 0 it has no slope, as in torch."""
    return _length(x1.unsqueeze(-2) - x2.unsqueeze(-3), p)


def pdist(input: Tensor, p: float = 2.0) -> Tensor:
    """``F.pdist``: the distances of all pairs of rows, the upper triangle of ``cdist`` in rows."""
    first, second = torch.triu_indices(len(input), len(input), 1, device=input.device)
    return _length(input[first] - input[second], p)


def channel_shuffle(input: Tensor, groups: int) -> Tensor:
    """``F.channel_shuffle``: channels by turns from each group (Zhang et al. 2018)."""
    return input.unflatten(1, (groups, -1)).transpose(1, 2).flatten(1, 2)


def multi_margin_loss(
    input: Tensor,
    target: Tensor,
    p: int = 1,
    margin: float = 1.0,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """``F.multi_margin_loss``: Σ over other classes of max(0, margin − x_y + x_i)^p over the number of classes."""
    rows, labels = (input, target) if input.dim() == 2 else (input.unsqueeze(0), target.reshape(1))
    right = rows.gather(1, labels.unsqueeze(1))
    missed = (margin - right + rows).clamp(min=0) ** p
    if weight is not None:
        missed = missed * weight[labels].unsqueeze(1)
    own = labels.unsqueeze(1) == torch.arange(rows.shape[1], device=rows.device)
    each = torch.where(own, 0.0, missed).sum(1) / rows.shape[1]
    return _reduced(each if input.dim() == 2 else each.squeeze(0), size_average, reduce, reduction)


def multilabel_margin_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """``F.multilabel_margin_loss``: Σ max(0, 1 − x_j + x_i), j named before the first −1 and i not named."""
    rows, labels = (input, target) if input.dim() == 2 else (input.unsqueeze(0), target.unsqueeze(0))
    named = (labels < 0).cumsum(1) == 0
    places = labels.clamp(min=0)
    classes = torch.arange(rows.shape[1], device=rows.device)
    is_named = ((places.unsqueeze(-1) == classes) & named.unsqueeze(-1)).any(1)
    missed = (1 - rows.gather(1, places).unsqueeze(2) + rows.unsqueeze(1)).clamp(min=0)
    counted = named.unsqueeze(2) & ~is_named.unsqueeze(1)
    each = torch.where(counted, missed, 0.0).sum((1, 2)) / rows.shape[1]
    return _reduced(each if input.dim() == 2 else each.squeeze(0), size_average, reduce, reduction)


def gaussian_nll_loss(
    input: Tensor, target: Tensor, var: Any, full: bool = False, eps: float = 1e-6, reduction: str = "mean"
) -> Tensor:
    """``F.gaussian_nll_loss``, without its check on values, which cannot be batched (Nix & Weigend 1994)."""
    spread = torch.full_like(input, var) if isinstance(var, float) else var
    if spread.dim() < input.dim() and spread.shape != input.shape:
        spread = spread.unsqueeze(-1)
    spread = spread + (spread.clamp(min=eps) - spread).detach()
    each = 0.5 * (spread.log() + (input - target) ** 2 / spread)
    if full:
        each = each + 0.5 * torch.log(torch.tensor(2 * torch.pi, dtype=each.dtype, device=each.device))
    return _reduced(each, None, None, reduction)


def _require_plain(what: str, max_norm: float | None, scale_grad_by_freq: bool) -> None:
    if max_norm is not None:
        raise MetaftError(
            f"an {what} with max_norm overwrites its weights while it answers, so that its derivative is that of no "
            "function; make it without max_norm"
        )
    if scale_grad_by_freq:
        raise MetaftError(
            f"an {what} with scale_grad_by_freq has a gradient that is that of no function, so that there is no second "
            "derivative; make it without scale_grad_by_freq"
        )


def _length(difference: Tensor, p: float) -> Tensor:
    size = difference.abs()
    if p == 0:
        return (difference != 0).to(difference.dtype).sum(-1)
    if p == 1:
        return size.sum(-1)
    if p == float("inf"):
        return size.amax(-1)
    power = difference.square().sum(-1) if p == 2 else size.pow(p).sum(-1)
    none = power == 0
    return torch.where(none, 0.0, torch.where(none, 1.0, power).pow(1 / p))


def _reduced(each: Tensor, size_average: bool | None, reduce: bool | None, reduction: str) -> Tensor:
    if size_average is not None or reduce is not None:  # torch's older names
        reduction = "none" if reduce is False else "sum" if size_average is False else "mean"
    return each if reduction == "none" else each.sum() if reduction == "sum" else each.mean()
