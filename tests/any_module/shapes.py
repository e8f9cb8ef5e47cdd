"""Layers that move numbers about: padding, shuffling, folding, upsampling, sampling on a grid, flattening."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from tests.any_module.case import Case, function, layers

SPACE = {1: (2, 4), 2: (2, 3, 4), 3: (2, 3, 3, 2)}
MODES = {"nearest": 2, "nearest-exact": 2, "linear": 1, "bilinear": 2, "bicubic": 2, "trilinear": 3, "area": 2}
PAD = {"constant": 2, "reflect": 1, "replicate": 1, "circular": 1}


def sampled(x: Tensor, turn: Tensor, **options) -> Tensor:
    """Each example seen through a learned affine map."""
    grid = F.affine_grid(turn.expand(len(x), 2, 3), list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, align_corners=False, **options)


def sampled3(x: Tensor, turn: Tensor) -> Tensor:
    return F.grid_sample(
        x, F.affine_grid(turn.expand(len(x), 3, 4), list(x.shape), align_corners=True), align_corners=True
    )


CASES: list[Case] = [
    *(
        layers(f"{kind}Pad{d}d", *SPACE[d])("", 1)
        for kind in ("Circular", "Reflection", "Replication", "Zero")
        for d in (1, 2, 3)
    ),
    *(layers(f"ConstantPad{d}d", *SPACE[d], scale=0.3)("", 1, 0.2) for d in (1, 2, 3)),
    layers("ReflectionPad2d", 2, 3, 4)("uneven", (1, 0, 2, 1)),
    layers("ZeroPad2d", 2, 3, 4)("cut off", (-1, 1, 0, -1)),
    layers("PixelShuffle", 4, 2, 2)("", 2),
    layers("PixelUnshuffle", 1, 4, 4)("", 2),
    layers("ChannelShuffle", 4, 2, 2)("", 2),
    layers("Fold", 8, 6)("", (3, 4), 2),
    layers("Fold", 8, 4)("strided, padded", (3, 3), 2, padding=1, stride=2),
    layers("Unfold", 2, 3, 4)("", 2),
    layers("Unfold", 2, 4, 4)("dilated, padded", 2, dilation=2, padding=1, stride=2),
    layers("Flatten", 2, 3)(""),
    layers("Unflatten", 6)("", 1, (2, 3)),
    *(layers("Upsample", *SPACE[d])(mode, scale_factor=2, mode=mode) for mode, d in MODES.items() if mode != "area"),
    *(
        layers("Upsample", *SPACE[d])(f"{mode}, corners", scale_factor=2, mode=mode, align_corners=True)
        for mode, d in MODES.items()
        if "linear" in mode or mode == "bicubic"
    ),
    *(layers("Upsample", *SPACE[d])(f"nearest, {d}d, to a size", size=(5,) * d) for d in (1, 2, 3)),
    layers("UpsamplingBilinear2d", 2, 3, 4)("", scale_factor=2),
    layers("UpsamplingNearest2d", 2, 3, 4)("", scale_factor=2),
    *(
        function("F.interpolate", lambda x, m=mode: F.interpolate(x, scale_factor=1.5, mode=m), *SPACE[d], variant=mode)
        for mode, d in MODES.items()
    ),
    *(
        function(
            "F.interpolate",
            lambda x, m=m: F.interpolate(x, size=2, mode=m, antialias=True),
            2,
            4,
            4,
            variant=f"{m}, antialias",
        )
        for m in ("bilinear", "bicubic")
    ),
    function("F.upsample", lambda x: F.upsample(x, scale_factor=2, mode="bilinear"), 2, 3, 4),
    function("F.upsample_bilinear", lambda x: F.upsample_bilinear(x, scale_factor=2), 2, 3, 4),
    function("F.upsample_nearest", lambda x: F.upsample_nearest(x, scale_factor=2), 2, 3, 4),
    *(function("F.pad", lambda x, m=m, n=n: F.pad(x, (n, 1), mode=m), 2, 4, variant=m) for m, n in PAD.items()),
    function("F.pixel_shuffle", lambda x: F.pixel_shuffle(x, 2), 4, 2, 2),
    function("F.pixel_unshuffle", lambda x: F.pixel_unshuffle(x, 2), 1, 4, 4),
    function("F.channel_shuffle", lambda x: F.channel_shuffle(x, 2), 4, 2, 2),
    function("F.fold", lambda x: F.fold(x, (3, 4), 2), 8, 6),
    function("F.unfold", lambda x: F.unfold(x, 2), 2, 3, 4),
    function("F.affine_grid", lambda x: F.affine_grid(x, [len(x), 1, 2, 3], align_corners=False), 2, 3),
    function(
        "F.affine_grid", lambda x: F.affine_grid(x, [len(x), 1, 2, 3, 2], align_corners=True), 3, 4, variant="volumes"
    ),
    *(
        function("F.grid_sample", lambda x, turn, m=m: sampled(x, turn, mode=m), 2, 4, 3, variant=m, turn=(1, 2, 3))
        for m in ("bilinear", "nearest", "bicubic")
    ),
    *(
        function(
            "F.grid_sample",
            lambda x, turn, m=m: sampled(x, 2 * turn, padding_mode=m),
            2,
            4,
            3,
            variant=m,
            turn=(1, 2, 3),
        )
        for m in ("border", "reflection")
    ),
    function("F.grid_sample", sampled3, 1, 3, 3, 2, variant="volumes", turn=(1, 3, 4)),
    function("torch.cat", lambda x: torch.cat([x, x.tanh()], 1), 4),
    function("torch.roll", lambda x: torch.roll(x, 1, 1) * x, 4),
]
