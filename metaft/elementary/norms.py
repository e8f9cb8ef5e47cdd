"""Norms over an example's own values, written out in elementary operations.

Torch's fused ones, differentiated twice and from outside a ``torch.func.vmap``, give a wrong gradient without a word:
within the vmap the derivative towards scale and shift is computed from the mean and variance that the forward pass
kept, and these carry no derivative of their own.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from metaft.elementary.batch_norm import per_channel


def layer_norm(
    x: Tensor, shape: Sequence[int], weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Tensor:
    """``F.layer_norm`` (Ba et al. 2016, eq. 3).

    Args:
        x: ``[..., *shape]``.
        shape: over which mean and variance are taken.
        weight: ``shape``, or None.
        bias: ``shape``, or None.
        eps: ε under the root.

    Returns:
        Like ``x``.
    """
    return _affine(_standard(x, len(_axes(shape)), eps), weight, bias)


def rms_norm(x: Tensor, shape: Sequence[int], weight: Tensor | None = None, eps: float | None = None) -> Tensor:
    """``F.rms_norm``: x over the root of its mean square (Zhang & Sennrich 2019, eq. 4).

    Args:
        x: ``[..., *shape]``.
        shape: over which the mean is taken.
        weight: ``shape``, or None.
        eps: ε under the root; the precision's unit roundoff if None.

    Returns:
        Like ``x``.
    """
    axes = tuple(range(-len(_axes(shape)), 0))
    wide = _wide(x)
    small = torch.finfo(x.dtype).eps if eps is None else eps
    return _affine((wide * torch.rsqrt(wide.square().mean(axes, keepdim=True) + small)).to(x.dtype), weight, None)


def group_norm(
    x: Tensor, groups: int, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Tensor:
    """``F.group_norm`` (Wu & He 2018, eq. 1 and 7).

    Args:
        x: ``[examples, channels, *space]``.
        groups: into which the channels are divided.
        weight: ``[channels]``, or None.
        bias: ``[channels]``, or None.
        eps: ε under the root.

    Returns:
        Like ``x``.
    """
    apart = x.reshape(x.shape[0], groups, -1)
    return _affine(_standard(apart, 1, eps).reshape(x.shape), *(_over_space(v, x) for v in (weight, bias)))


def instance_norm(
    x: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """``F.instance_norm`` (Ulyanov et al. 2016), which here moves no running statistics.

    Args:
        x: ``[examples, channels, *space]``, or ``[channels, *space]`` of one example.
        running_mean: ``[channels]``, used only without ``use_input_stats``.
        running_var: likewise.
        weight: ``[channels]``, or None.
        bias: ``[channels]``, or None.
        use_input_stats: normalise every channel of every example by itself; otherwise by the running statistics.
        momentum: has no effect.
        eps: ε under the root.

    Returns:
        Like ``x``.
    """
    if use_input_stats or running_mean is None or running_var is None:
        found = _standard(x.flatten(2), 1, eps).reshape(x.shape)
    else:
        mean, variance = per_channel(running_mean, x), per_channel(running_var, x)
        found = (x - mean) * torch.rsqrt(variance + eps)
    return _affine(found, *(_over_space(v, x) for v in (weight, bias)))


def weight_norm(v: Tensor, g: Tensor, dim: int = 0) -> Tensor:
    """``torch._weight_norm``: w = g v / ‖v‖ (Salimans & Kingma 2016, eq. 2).

    Args:
        v: the direction of a weight.
        g: its lengths, of size 1 in all axes but ``dim``; a scalar where ``dim`` is −1.
        dim: the axis along which each slice has a length of its own; −1 for one length of the whole.

    Returns:
        Like ``v``.
    """
    over = [axis for axis in range(v.dim()) if axis != dim]
    return v * (g / torch.linalg.vector_norm(v, dim=over, keepdim=True))


def statistics(x: Tensor, axes: tuple[int, ...], eps: float) -> tuple[Tensor, Tensor]:
    """Mean and 1/√(variance + ε).

    Args:
        x: any shape.
        axes: over which both are taken; they stay, of size 1.
        eps: ε under the root.

    Returns:
        Both.
    """
    variance, mean = torch.var_mean(_wide(x), axes, correction=0, keepdim=True)
    return mean, torch.rsqrt(variance + eps)


def _standard(x: Tensor, axes: int, eps: float) -> Tensor:
    """(x − mean) / √(variance + ε) over so many last axes; half precision is summed in single, as torch does."""
    over, wide = tuple(range(-axes, 0)), _wide(x)
    centred = wide - wide.mean(over, keepdim=True)
    return (centred * torch.rsqrt(centred.square().mean(over, keepdim=True) + eps)).to(x.dtype)


def _wide(x: Tensor) -> Tensor:
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def _affine(x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    if weight is not None:
        x = x * weight
    return x if bias is None else x + bias


def _over_space(values: Tensor | None, x: Tensor) -> Tensor | None:
    """``[channels]`` in a shape that is broadcast over ``x``, ``[examples, channels, *space]``."""
    return None if values is None else per_channel(values, x)


def _axes(shape: Sequence[int] | int) -> Sequence[int]:
    return (shape,) if isinstance(shape, int) else shape
