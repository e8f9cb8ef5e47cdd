"""Max-pooling written out in elementary operations, in the form that a compiler fuses and differentiates well."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


def max_pool2d(x: Tensor, kernel: tuple[int, int]) -> Tensor:
    """Max-pooling over windows that do not overlap, as a choice between neighbours.

    Of equal values the first is chosen and not-a-number is greater than all, as by torch's own operator, whose
    gradient finds its places through an index and can be neither fused nor vectorised.

    Args:
        x: ``[examples, channels, height, width]``; rows and columns beyond the last whole window are left out.
        kernel: height and width of a window.

    Returns:
        ``[examples, channels, height // kernel[0], width // kernel[1]]``.
    """
    high, wide = x.shape[2] // kernel[0], x.shape[3] // kernel[1]
    # Channels go last before anything is taken apart: the compiler would otherwise lay the whole of x out anew.
    rows = x[:, :, : high * kernel[0], : wide * kernel[1]].permute(0, 2, 3, 1)
    windows = rows.reshape(x.shape[0], high, kernel[0], wide, kernel[1], x.shape[1])
    place = _place_of_largest([column for row in windows.unbind(2) for column in row.unbind(3)])
    # Picked out by their places, so that the gradient is put where it belongs number by number; of neighbours that are
    # taken apart it would have to be put together, by copying all of it.
    places = torch.arange(math.prod(kernel), device=x.device, dtype=place.dtype).reshape(kernel[0], 1, kernel[1], 1)
    here = place[:, :, None, :, None] == places
    return torch.where(here, windows, 0).sum((2, 4), dtype=x.dtype).permute(0, 3, 1, 2)


def plain_max_pool2d(
    x: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> tuple[int, int] | None:
    """Whether ``F.max_pool2d``, called with these arguments, is what ``max_pool2d`` here does.

    Returns:
        The window's height and width if so, None if not.
    """
    kernel = _pair(kernel_size)
    plain = x.dim() == 4 and _pair(padding) == (0, 0) and _pair(dilation) == (1, 1) and not ceil_mode
    return kernel if plain and not return_indices and _pair(stride or kernel) == kernel else None


def _place_of_largest(candidates: Sequence[Tensor]) -> Tensor:
    first, *others = (candidate.detach() for candidate in candidates)
    # As wide as the values, for vectors of both; but half precision could not count far.
    place = torch.zeros_like(first, dtype=first.dtype if first.dtype == torch.float64 else torch.float32)
    for i, other in enumerate(others, 1):
        larger = (other > first) | (other != other)  # isnan would not be vectorised
        first, place = torch.where(larger, other, first), torch.where(larger, float(i), place)
    return place


def _pair(value: Any) -> tuple[int, int]:
    first, second = (value, value) if isinstance(value, int) else (value * 2)[:2] if len(value) == 1 else value
    return int(first), int(second)
