"""Several texts in one row, of which each sees itself alone and begins at place 0."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from metaft.errors import MetaftError
from metaft.models import kv_cache
from metaft.models.added import word_by_word


def places_within(segments: Tensor) -> Tensor:
    """How far each word is from the beginning of its text.

    Args:
        segments: ``int64 [rows, places]``: one number for all words of a text, another for the next; 0 for padding.

    Returns:
        ``int64 [rows, places]``; 0 for padding.
    """
    places = torch.arange(segments.shape[-1], device=segments.device).expand(segments.shape)
    first = torch.nn.functional.pad(segments[..., 1:] != segments[..., :-1], (1, 0), value=True)
    return (places - places.where(first, 0).cummax(-1).values).where(segments > 0, 0)


def others(segments: Tensor) -> Tensor:
    """Which places are of other texts.

    Args:
        segments: ``int64 [rows, places]``.

    Returns:
        ``bool [rows, 1, places, places]``: asking place, place that is asked.
    """
    return (segments.unsqueeze(-1) != segments.unsqueeze(-2)).unsqueeze(-3)


def require_apart(model: nn.Module, causal: bool, given: Tensor, read: Tensor) -> None:
    """Refuse a network that cannot keep texts of one row apart.

    Args:
        model: the network.
        causal: whether a place sees only those before it.
        given: the words, ``int64 [rows, places]``.
        read: the same with an addition's.

    Raises:
        MetaftError: saying what is in the way.
    """
    why = ""
    if not causal:
        why = f"a {type(model).__name__} that reads in both directions"
    elif read.shape != given.shape:
        why = "an addition that puts words before a row"
    elif not word_by_word(model):
        why = "an addition that looks at a whole row"
    elif kv_cache.current() is not None:
        why = "a text that goes on from what was read before"
    if why:
        raise MetaftError(f"several texts in one row are not kept apart by {why}; give each a row of its own")
