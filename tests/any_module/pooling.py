"""Pooling of all kinds: average, maximum, adaptive, LP, fractional, and back."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.any_module.case import Case, function, layer, layers

SPACE = {1: (2, 6), 2: (2, 4, 4), 3: (2, 4, 4, 4)}
SAMPLES = {2: (2, 2), 3: (2, 3)}


class ThereAndBack(nn.Module):
    """Maximum pooling with places, and its undoing by them."""

    def __init__(self, d: int) -> None:
        super().__init__()
        self.pool = getattr(nn, f"MaxPool{d}d")(2, return_indices=True)
        self.unpool = getattr(nn, f"MaxUnpool{d}d")(2)

    def forward(self, x: Tensor) -> Tensor:
        return self.unpool(*self.pool(x)) + x


def there_and_back(x: Tensor, d: int) -> Tensor:
    values, places = getattr(F, f"max_pool{d}d_with_indices")(x, 2)
    return getattr(F, f"max_unpool{d}d")(values, places, 2) + x


def samples(x: Tensor, d: int) -> Tensor:
    """Where fractional pooling cuts, the same at each call."""
    return torch.linspace(0.1, 0.8, len(x) * 2 * d, dtype=x.dtype).view(len(x), 2, d)


D = (1, 2, 3)
CASES: list[Case] = [
    *(layers(f"AvgPool{d}d", *SPACE[d])("", 2) for d in D),
    *(layers(f"AvgPool{d}d", *SPACE[d])("overlapping, padded", 3, 1, 1, ceil_mode=True) for d in D),
    *(layers(f"AvgPool{d}d", *SPACE[d])("padding not counted", 3, 2, 1, count_include_pad=False) for d in D),
    *(layers(f"MaxPool{d}d", *SPACE[d])("", 2) for d in D),
    *(layers(f"MaxPool{d}d", *SPACE[d])("overlapping, padded", 3, 2, 1, ceil_mode=True) for d in D),
    *(layers(f"MaxPool{d}d", *SPACE[d])("dilated", 2, 1, dilation=2) for d in D),
    *(layers(f"MaxPool{d}d", *SPACE[d])("with places", 2, return_indices=True) for d in D),
    *(layers(f"LPPool{d}d", *SPACE[d], scale=0.5)("", 2, 2) for d in D),
    *(
        layers(f"LPPool{d}d", *SPACE[d], call=lambda layer, x: layer(x.sigmoid()))("p 3", 3, 2, 2, ceil_mode=True)
        for d in D
    ),
    *(layers(f"Adaptive{kind}Pool{d}d", *SPACE[d])("", 1) for kind in ("Avg", "Max") for d in D),
    *(layers(f"Adaptive{kind}Pool{d}d", *SPACE[d])("uneven", 3) for kind in ("Avg", "Max") for d in D),
    *(layers(f"FractionalMaxPool{d}d", *SPACE[d], random="always")("", 2, output_size=2) for d in (2, 3)),
    *(layers(f"FractionalMaxPool{d}d", *SPACE[d], random="always")("a ratio", 2, output_ratio=0.6) for d in (2, 3)),
    *(
        layer(
            lambda d=d: nn.Identity(),
            *SPACE[d],
            of=f"FractionalMaxPool{d}d",
            variant="given cuts",
            call=lambda _, x, d=d: getattr(nn, f"FractionalMaxPool{d}d")(2, 2, _random_samples=samples(x, d))(x),
        )
        for d in (2, 3)
    ),
    *(layer(lambda d=d: ThereAndBack(d), *SPACE[d], of=f"MaxUnpool{d}d") for d in D),
    *(function(f"F.avg_pool{d}d", lambda x, d=d: getattr(F, f"avg_pool{d}d")(x, 2), *SPACE[d]) for d in D),
    *(function(f"F.max_pool{d}d", lambda x, d=d: getattr(F, f"max_pool{d}d")(x, 2), *SPACE[d]) for d in D),
    *(
        function(
            f"F.max_pool{d}d_with_indices", lambda x, d=d: getattr(F, f"max_pool{d}d_with_indices")(x, 2)[0], *SPACE[d]
        )
        for d in D
    ),
    *(function(f"F.max_unpool{d}d", lambda x, d=d: there_and_back(x, d), *SPACE[d]) for d in D),
    *(function(f"F.lp_pool{d}d", lambda x, d=d: getattr(F, f"lp_pool{d}d")(x, 2, 2), *SPACE[d], scale=0.5) for d in D),
    *(
        function(
            f"F.adaptive_{kind}_pool{d}d",
            lambda x, d=d, kind=kind: getattr(F, f"adaptive_{kind}_pool{d}d")(x, 2),
            *SPACE[d],
        )
        for kind in ("avg", "max")
        for d in D
    ),
    *(
        function(
            f"F.adaptive_max_pool{d}d_with_indices",
            lambda x, d=d: getattr(F, f"adaptive_max_pool{d}d_with_indices")(x, 2)[0],
            *SPACE[d],
        )
        for d in D
    ),
    *(
        function(
            f"F.fractional_max_pool{d}d{places}",
            lambda x, d=d, f=f"fractional_max_pool{d}d{places}": getattr(F, f)(x, 2, 2),
            *SPACE[d],
            random="always",
        )
        for d in (2, 3)
        for places in ("", "_with_indices")
    ),
]
