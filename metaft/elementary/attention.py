"""Scaled dot-product attention written out: torch's fused kernels have no second derivative."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Thin = Callable[[Tensor, float], Tensor]
"""``(weights, p) → weights`` with dropout of probability p."""


def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
    thin: Thin | None = None,
) -> Tensor:
    """``F.scaled_dot_product_attention``: softmax(Q Kᵀ / √d + mask) V (Vaswani et al. 2017, eq. 1).

    Args:
        query: ``[..., targets, width]``.
        key: ``[..., sources, width]``.
        value: ``[..., sources, values]``.
        attn_mask: broadcast over ``[..., targets, sources]``: true where a source is seen, or what is added to scores.
        dropout_p: of the weights; needs ``thin``.
        is_causal: a target sees the sources up to its own place alone.
        scale: of the scores; 1/√width if None.
        enable_gqa: keys and values have fewer heads, each for several of the queries' (Ainslie et al. 2023).
        thin: dropout with draws of the caller's choice.

    Returns:
        ``[..., targets, values]``; zeros where a target sees nothing, as torch has it.
    """
    if enable_gqa and key.dim() >= 3:
        key = key.repeat_interleave(query.shape[-3] // key.shape[-3], -3)
        value = value.repeat_interleave(query.shape[-3] // value.shape[-3], -3)
    # Scaled before the product: the scores are the largest tensor here.
    scores = (query * (query.shape[-1] ** -0.5 if scale is None else scale)) @ key.mT
    if is_causal:
        places = torch.arange(scores.shape[-1], device=scores.device)
        seen = places <= torch.arange(scores.shape[-2], device=scores.device).unsqueeze(-1)
        attn_mask = seen if attn_mask is None else _both(seen, attn_mask)
    if attn_mask is None:
        weights = scores.softmax(-1)
    else:
        masked = torch.where(attn_mask, scores, -torch.inf) if attn_mask.dtype == torch.bool else scores + attn_mask
        # A row that is −∞ throughout has no softmax, nor a derivative: it is taken out before and after.
        blind = (masked == -torch.inf).all(-1, keepdim=True)
        weights = torch.where(blind, 0.0, torch.where(blind, 0.0, masked).softmax(-1))
    if dropout_p > 0 and thin is not None:
        weights = thin(weights, dropout_p)
    return weights @ value


def _both(seen: Tensor, mask: Tensor) -> Tensor:
    return seen & mask if mask.dtype == torch.bool else torch.where(seen, mask, -torch.inf)
