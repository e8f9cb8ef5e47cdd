"""Scaled dot-product attention in plain operations: what may be seen, rotary places, and what additions put before."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout, softmax

from metaft.data.texts.labelled_texts import PADDING
from metaft.elementary.packing import current
from metaft.models import kv_cache
from metaft.models.added import beside


def attend(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float | None = None,
    share: float = 0.0,
) -> Tensor:  # fmt: skip
    """What queries make of the values whose keys they are near to (Vaswani et al. 2017, eq. 1).

    Written out, as the fused one has no second derivative on a CPU.

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
    before = [] if reading is None else reading.met(module, key, value)
    for added in beside(module):
        key, value, mask = added.piece.attended(added.own(), key, value, mask)
    if reading is not None and mask is not None:
        mask = reading.unhidden(mask)
    read = [*before, (key, value)]
    scores = [_product(query, some.transpose(-1, -2)) for some, _ in read]
    together = scores[0] if len(scores) == 1 else torch.cat(scores, dim=-1)
    together = together / math.sqrt(query.shape[-1]) if scale is None else together * scale
    weights = softmax(together if mask is None else together + mask, dim=-1)
    if share:
        weights = dropout(weights, share, module.training)
    of_parts = weights.split([some.shape[-2] for some, _ in read], dim=-1) if before else (weights,)
    found = _product(of_parts[-1], value)
    for part, (_, some) in zip(of_parts, before, strict=False):
        found = found + _product(part, some)
    found = found.transpose(1, 2)
    return found if packing is None else packing.packed(found)


def _product(x: Tensor, y: Tensor) -> Tensor:
    """``x @ y``, of which y may have fewer heads, that several of x share, and one text, that all of x share.

    Args:
        x: ``[texts, heads, places, size]``.
        y: ``[texts or 1, key heads, size, others]``.

    Returns:
        ``[texts, heads, places, others]``.
    """
    shared = x.shape[1] // y.shape[1]
    if shared > 1:
        x = x.unflatten(1, (y.shape[1], shared)).flatten(2, 3)
    if y.shape[0] == 1 < x.shape[0]:  # one product for all texts, none of them copied
        found = (x.transpose(0, 1).flatten(1, 2) @ y[0]).unflatten(1, (x.shape[0], -1)).transpose(0, 1)
    else:
        found = x @ y
    return found if shared == 1 else found.unflatten(2, (shared, -1)).flatten(1, 2)


def additive_mask(ids: Tensor, causal: bool, dtype: torch.dtype) -> Tensor:
    """What is added to scores, so that padding, and what comes later, is not seen.

    Args:
        ids: ``int64 [examples, places]``, 0 for padding.
        causal: whether later words are hidden.
        dtype: of the scores.

    Returns:
        ``[examples, 1, 1 or places, places]``: 0, or a number so low that its weight is 0. It is finite, so that a text
        without a word gives no NaN.
    """
    hidden = (ids == PADDING)[:, None, None, :]
    if causal:
        places = torch.arange(ids.shape[-1], device=ids.device)
        hidden = hidden | (places[None, :] > places[:, None])
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
