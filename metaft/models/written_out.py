"""Layers written out in elementary operations, in the form that a compiler fuses and differentiates well."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor


def var_mean(x: Tensor, counted: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Variance and mean of each channel over the examples that count.

    With c the mean, taken as a constant, the variance is E[(x − c)²] − (E[x] − c)². That holds for any c, so all
    derivatives are right; the second term is 0 and spares the first derivative a pass over the whole of x.

    Args:
        x: ``[examples, channels, *space]``.
        counted: ``bool [examples]``, false where one is padding; all count if None.

    Returns:
        Biased variance and mean, ``[channels]``.
    """
    average = _average(x, counted)
    mean = average(x)
    centre = mean.detach()
    return average((x - per_channel(centre, x)).square()) - (mean - centre).square(), mean


def normalise(
    x: Tensor, variance: Tensor, mean: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
) -> Tensor:
    """Batch norm by given statistics: (x − mean) / √(variance + ε) · weight + bias (Ioffe & Szegedy 2015, alg. 1).

    Args:
        x: ``[examples, channels, *space]``.
        variance: ``[channels]``.
        mean: ``[channels]``.
        weight: ``[channels]``, or None.
        bias: ``[channels]``, or None.
        eps: ε.

    Returns:
        Like ``x``.
    """
    scale = torch.rsqrt(variance + eps)
    if weight is not None:
        scale = scale * weight
    centre = mean.detach()  # x − centre is what ``var_mean`` has computed already
    shift = (centre - mean) * scale
    if bias is not None:
        shift = shift + bias
    return (x - per_channel(centre, x)) * per_channel(scale, x) + per_channel(shift, x)


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


def per_channel(values: Tensor, x: Tensor) -> Tensor:
    """``[channels]`` in a shape that is broadcast over ``x``, ``[examples, channels, *space]``."""
    return values.reshape(-1, *(1,) * (x.dim() - 2))


def _average(x: Tensor, counted: Tensor | None) -> Callable[[Tensor], Tensor]:
    axes = (0, *range(2, x.dim()))
    if counted is None:
        if x.dtype not in (torch.float32, torch.float64):
            return lambda values: values.mean(axes)  # a sum in half precision is soon infinite
        count = x.numel() // max(x.shape[1], 1)
        return lambda values: values.sum(axes) / count  # a mean's gradient would be divided after it is spread out
    share = (counted.to(x.dtype) / (counted.sum() * math.prod(x.shape[2:]))).reshape(-1, *(1,) * (x.dim() - 1))
    return lambda values: (values * share).sum(axes)


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
