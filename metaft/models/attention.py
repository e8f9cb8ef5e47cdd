"""Scaled dot-product attention in plain operations: what may be seen, rotary places, and what additions put before."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout, scaled_dot_product_attention, softmax

from metaft.data.texts.labelled_texts import PADDING
from metaft.elementary.packing import current
from metaft.models import kv_cache
from metaft.models.added import beside
from metaft.models.segments import others


def attend(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float | None = None,
    share: float = 0.0,
) -> Tensor:  # fmt: skip
    """What queries make of the values whose keys they are near to (Vaswani et al. 2017, eq. 1).

    Written out, as the fused one has no second derivative on a CPU; that is taken where keys and values are kept.

    Args:
        module: the attention; what an addition has beside it is seen too.
        query: ``[examples, heads, places, size]``, or ``[1, heads, words, size]`` where words are packed.
        key: likewise, perhaps of fewer heads (Ainslie et al. 2023), and of other places.
        value: likewise.
        mask: added to the scores; None for nothing.
        scale: of the scores; one over the root of the size if None.
        share: of weights that is dropped in training.

    Returns:
        ``[examples, places, heads, size]``; packed again where the queries are.
    """
    packing = current()
    if packing is not None:
        # Where weights are dropped, which of them hangs on how many places there are.
        places = packing.inverse.shape[-1] if share and module.training else packing.longest
        query, key, value = (packing.spread(x.transpose(1, 2), places).transpose(1, 2) for x in (query, key, value))
        mask = None if mask is None else mask[..., :places, :places]
    reading = kv_cache.current()
    if reading is not None:
        key, value, mask = reading.met(module, key, value, mask)
    for added in beside(module):
        key, value, mask = added.piece.attended(added.own(), key, value, mask)
    if reading is not None:  # nothing is differentiated
        found = scaled_dot_product_attention(query, key, value, mask, scale=scale, enable_gqa=True).transpose(1, 2)
        return found if packing is None else packing.packed(found)
    if key.shape[1] < query.shape[1]:
        key, value = (x.repeat_interleave(query.shape[1] // key.shape[1], dim=1) for x in (key, value))
    scores = query @ key.transpose(-1, -2)
    scores = scores / math.sqrt(query.shape[-1]) if scale is None else scores * scale
    weights = softmax(scores if mask is None else scores + mask, dim=-1)
    if share:
        weights = dropout(weights, share, module.training)
    found = (weights @ value).transpose(1, 2)
    return found if packing is None else packing.packed(found)


def additive_mask(ids: Tensor, causal: bool, dtype: torch.dtype, segments: Tensor | None = None) -> Tensor:
    """What is added to scores, so that padding, and what comes later, is not seen.

    Args:
        ids: ``int64 [examples, places]``, 0 for padding.
        causal: whether later words are hidden.
        dtype: of the scores.
        segments: ``int64 [examples, places]``, which of several texts each word is of, which do not see each other.

    Returns:
        ``[examples, 1, 1 or places, places]``: 0, or a number so low that its weight is 0. It is finite, so that a text
        without a word gives no NaN.
    """
    hidden = (ids == PADDING)[:, None, None, :]
    if causal:
        places = torch.arange(ids.shape[-1], device=ids.device)
        hidden = hidden | (places[None, :] > places[:, None])
    if segments is not None:
        hidden = hidden | others(segments)
    return hidden.to(dtype) * (torch.finfo(dtype).min / 2)


def rotation(places: Tensor, size: int, like: Tensor, base: float = 10_000.0) -> tuple[Tensor, Tensor]:
    """Cosines and sines by which queries and keys are turned at each place (Su et al. 2021, eq. 34).

    Args:
        places: ``int64 [...]``.
        size: of a head.
        like: says in what precision and where.
        base: of the wavelengths.

    Returns:
        ``[..., size]`` each.
    """
    rates = base ** (-torch.arange(0, size, 2, dtype=torch.float64, device=like.device) / size)
    angles = places.to(torch.float64).unsqueeze(-1) * rates
    whole = torch.cat((angles, angles), dim=-1)
    return whole.cos().to(like.dtype), whole.sin().to(like.dtype)


def turned(x: Tensor, turn: tuple[Tensor, Tensor]) -> Tensor:
    """``[..., places, size]`` turned at each place; a number is paired with the one half the size away."""
    one, other = x.chunk(2, dim=-1)
    return x * turn[0] + torch.cat((-other, one), dim=-1) * turn[1]
