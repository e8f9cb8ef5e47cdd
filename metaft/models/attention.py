"""Scaled dot-product attention in plain operations, which additions can give more keys and values to see."""

from __future__ import annotations

import math

from torch import Tensor, nn
from torch.nn.functional import dropout, softmax

from metaft.elementary.packing import current
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
    for added in beside(module):
        key, value, mask = added.piece.attended(added.own(), key, value, mask)
    if key.shape[1] < query.shape[1]:
        key, value = (x.repeat_interleave(query.shape[1] // key.shape[1], dim=1) for x in (key, value))
    scores = query @ key.transpose(-1, -2)
    scores = scores / math.sqrt(query.shape[-1]) if scale is None else scores * scale
    weights = softmax(scores if mask is None else scores + mask, dim=-1)
    if share:
        weights = dropout(weights, share, module.training)
    found = (weights @ value).transpose(1, 2)
    return found if packing is None else packing.packed(found)
