"""Dropout of all kinds. In training they draw; what is checked then is that every way of computing draws the same."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from tests.any_module.case import Case, function, layer, layers

KINDS = {
    "Dropout": (6,),
    "AlphaDropout": (6,),
    "FeatureAlphaDropout": (3, 4),
    "Dropout1d": (3, 4),
    "Dropout2d": (3, 2, 2),
    "Dropout3d": (3, 2, 2, 2),
}
FUNCTIONS = {
    "dropout": (6,),
    "alpha_dropout": (6,),
    "feature_alpha_dropout": (3, 4),
    "dropout1d": (3, 4),
    "dropout2d": (3, 2, 2),
    "dropout3d": (3, 2, 2, 2),
}


def noisy(x: torch.Tensor) -> torch.Tensor:
    return x * (1 + 0.1 * torch.randn_like(x))


CASES: list[Case] = [
    *(layers(of, *feeds, random="training")("", 0.4) for of, feeds in KINDS.items()),
    *(layers(of, *feeds, random="training")("in place", 0.4, inplace=True) for of, feeds in KINDS.items()),
    layers("Dropout", 6)("p 0", 0.0),
    layers("Dropout", 6, random="training")("p 1", 1.0),
    layer(
        lambda: nn.Sequential(nn.Dropout(0.3), nn.Linear(6, 6), nn.LayerNorm(6), nn.Dropout(0.3)),
        6,
        of="Dropout",
        variant="twice, around a layer norm",
        random="training",
    ),
    *(
        function(f"F.{of}", lambda x, of=of: getattr(F, of)(x, 0.4, training=True), *feeds, random="always")
        for of, feeds in FUNCTIONS.items()
    ),
    function("F.dropout", lambda x: F.dropout(x, 0.4, training=False), 6, variant="not in training"),
    function("torch.dropout", lambda x: torch.dropout(x, 0.4, True), 6, random="always"),
    function("torch.randn_like", noisy, 6, random="always"),
    function("torch.rand", lambda x: x + torch.rand(x.shape, dtype=x.dtype), 6, random="always"),
    function("torch.bernoulli", lambda x: x * torch.bernoulli(torch.full_like(x, 0.5)), 6, random="always"),
    function("torch.Tensor.normal_", lambda x: x + torch.empty_like(x).normal_(), 6, random="always"),
    function("torch.randperm", lambda x: x[:, torch.randperm(6)], 6, random="always"),
]
