"""Batch norm written out in elementary operations, in the form that a compiler fuses and differentiates well."""

from __future__ import annotations

import math
from collections.abc import Callable

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
