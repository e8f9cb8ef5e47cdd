"""Torch's random functions with draws of a task's own stream; each takes ``draw``, which gives uniform numbers.

``draw(shape, dtype) → numbers in (0, 1)``, others at each call. The signatures are torch's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from metaft.errors import MetaftError

Draw = Callable[[Sequence[int], torch.dtype], Tensor]
ALPHA = 1.7580993408473766
"""What SELU tends to far below 0, its sign turned (Klambauer et al. 2017)."""


def kept(draw: Draw, x: Tensor, p: float, shape: Sequence[int]) -> Tensor:
    """1 with probability 1 − p and 0 otherwise, in the type of ``x``."""
    _require_probability(p)
    drawn = draw(shape, x.dtype if x.dtype == torch.float64 else torch.float32)
    return (drawn >= p).to(x.dtype)


def thinned(draw: Draw, x: Tensor, p: float, shape: Sequence[int] | None = None) -> Tensor:
    """Dropout (Srivastava et al. 2014): values kept with probability 1 − p and scaled by 1/(1 − p)."""
    mask = kept(draw, x, p, x.shape if shape is None else shape)
    return x * (mask * (1 / (1 - p) if p < 1 else 0.0))


def dropout(draw: Draw, input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """``F.dropout``."""
    return thinned(draw, input, p) if training and p else _same(input, p)


def channels_dropout(draw: Draw, x: Tensor, p: float, batched: bool = True) -> Tensor:
    """Whole channels, of an example each where ``batched`` (Tompson et al. 2015)."""
    return thinned(draw, x, p, channels_of(x, batched))


def channels_of(x: Tensor, batched: bool) -> tuple[int, ...]:
    """The shape of one number a channel, broadcast over ``[examples, channels, *space]`` or ``[channels, *space]``."""
    leading = 2 if batched else 1
    return (*x.shape[:leading], *(1,) * (x.dim() - leading))


def dropout1d(draw: Draw, input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """``F.dropout1d``."""
    return channels_dropout(draw, input, p, input.dim() == 3) if training and p else _same(input, p)


def dropout2d(draw: Draw, input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """``F.dropout2d``; three axes are examples, channels and space, as torch reads them."""
    return channels_dropout(draw, input, p) if training and p else _same(input, p)


def dropout3d(draw: Draw, input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """``F.dropout3d``."""
    return channels_dropout(draw, input, p, input.dim() == 5) if training and p else _same(input, p)


def alpha_dropout(draw: Draw, input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False) -> Tensor:
    """``F.alpha_dropout`` (Klambauer et al. 2017, §"new dropout technique")."""
    return _alpha(draw, input, p, input.shape) if training and p else _same(input, p)


def feature_alpha_dropout(
    draw: Draw, input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False
) -> Tensor:
    """``F.feature_alpha_dropout``: the same of whole channels."""
    return _alpha(draw, input, p, channels_of(input, True)) if training and p else _same(input, p)


def rrelu(
    draw: Draw, input: Tensor, lower: float = 1 / 8, upper: float = 1 / 3, training: bool = False, inplace: bool = False
) -> Tensor:
    """``F.rrelu`` (Xu et al. 2015, §2.4)."""
    if not training:
        return F.leaky_relu(input, (lower + upper) / 2)
    slope = lower + (upper - lower) * draw(input.shape, input.dtype)
    return torch.where(input <= 0, input * slope, input)


def gumbel_softmax(
    draw: Draw, logits: Tensor, tau: float = 1, hard: bool = False, eps: float = 1e-10, dim: int = -1
) -> Tensor:
    """``F.gumbel_softmax`` (Jang et al. 2017, eq. 2)."""
    noise = -torch.log(-torch.log(draw(logits.shape, logits.dtype)))
    soft = ((logits + noise) / tau).softmax(dim)
    if not hard:
        return soft
    first = torch.zeros_like(soft).scatter(dim, soft.max(dim, keepdim=True)[1], 1.0)
    return first - soft.detach() + soft


def bernoulli(draw: Draw, input: Tensor, p: float | None = None) -> Tensor:
    """``torch.bernoulli``."""
    chance = input if p is None else p
    return (draw(input.shape, torch.float64) < chance).to(input.dtype)


def standard_normal(draw: Draw, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """Standard normal numbers."""
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    return (math.sqrt(2) * torch.erfinv(2 * draw(shape, wide) - 1)).to(dtype)


def normal(draw: Draw, mean: Any, std: Any = 1.0, size: Sequence[int] | None = None, **more: Any) -> Tensor:
    """``torch.normal``."""
    like = mean if isinstance(mean, Tensor) else std if isinstance(std, Tensor) else None
    shape = torch.broadcast_shapes(*(v.shape for v in (mean, std) if isinstance(v, Tensor))) if size is None else size
    dtype = like.dtype if like is not None else more.get("dtype") or torch.get_default_dtype()
    return mean + std * standard_normal(draw, shape, dtype)


def whole_numbers(draw: Draw, low: int, high: int, shape: Sequence[int], dtype: torch.dtype | None) -> Tensor:
    """Drawn uniformly from low … high − 1."""
    return (low + (draw(shape, torch.float64) * (high - low)).floor()).to(dtype or torch.int64)


def multinomial(draw: Draw, input: Tensor, num_samples: int, replacement: bool = False) -> Tensor:
    """``torch.multinomial``; without replacement by the largest of log p + Gumbel noise (Kool et al. 2019)."""
    log = input.double().log()
    if replacement:
        log = log.unsqueeze(-2).expand(*log.shape[:-1], num_samples, log.shape[-1])
        return (log - torch.log(-torch.log(draw(log.shape, torch.float64)))).argmax(-1)
    return (log - torch.log(-torch.log(draw(log.shape, torch.float64)))).topk(num_samples, -1).indices


def _alpha(draw: Draw, x: Tensor, p: float, shape: Sequence[int]) -> Tensor:
    if p == 1:
        return x * 0
    mask, scale = kept(draw, x, p, shape), ((ALPHA**2 * p + 1) * (1 - p)) ** -0.5
    return x * (mask * scale) + (mask - 1) * (ALPHA * scale) + ALPHA * scale * p


def _same(x: Tensor, p: float) -> Tensor:
    _require_probability(p)
    return x


def _require_probability(p: float) -> None:
    if not 0 <= p <= 1:
        raise MetaftError(f"a dropout probability lies in [0, 1], not {p!r}")
