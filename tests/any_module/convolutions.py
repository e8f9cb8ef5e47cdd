"""Linear maps: dense, bilinear, and convolutions plain, transposed, grouped, dilated and padded in every mode."""

from __future__ import annotations

import torch.nn.functional as F
from torch import nn

from tests.any_module.case import Case, function, layers, normal
from tests.any_module.norms import on_images

SPACE = {1: (4, 5), 2: (4, 4, 3), 3: (4, 3, 3, 3)}
WEIGHT = {1: (2, 4, 2), 2: (2, 4, 2, 2), 3: (2, 4, 2, 2, 2)}
PLAIN = {
    "": {},
    "no bias": {"bias": False},
    "grouped": {"groups": 2},
    "a group a channel": {"groups": 4},
    "dilated": {"dilation": 2, "padding": 1},
    "strided, padded": {"stride": 2, "padding": 1},
    "same": {"padding": "same"},
    "reflected": {"padding": 1, "padding_mode": "reflect"},
    "replicated": {"padding": 1, "padding_mode": "replicate"},
    "circular": {"padding": 1, "padding_mode": "circular"},
}
TRANSPOSED = {
    "": {},
    "no bias": {"bias": False},
    "grouped": {"groups": 2},
    "strided, output padded": {"stride": 2, "output_padding": 1, "padding": 1},
    "dilated": {"dilation": 2},
}


def out(options: dict) -> int:
    return 4 if options.get("groups") == 4 else 2


bilinear = lambda layer, x: layer(x[:, 0], x[:, 1, :2])

CASES: list[Case] = [
    *(layers(f"Conv{d}d", *SPACE[d])(v, 4, out(o), 2, **o) for d in (1, 2, 3) for v, o in PLAIN.items()),
    *(layers(f"ConvTranspose{d}d", *SPACE[d])(v, 4, 2, 2, **o) for d in (1, 2, 3) for v, o in TRANSPOSED.items()),
    *(layers(f"LazyConv{d}d", *SPACE[d])("", 2, 2) for d in (1, 2, 3)),
    *(layers(f"LazyConvTranspose{d}d", *SPACE[d])("", 2, 2) for d in (1, 2, 3)),
    layers("Linear", 6)("", 6, 4),
    layers("Linear", 2, 3)("no bias, on tokens", 3, 4, bias=False),
    layers("LazyLinear", 6)("", 4),
    layers("Bilinear", 2, 3, call=bilinear)("", 3, 2, 4),
    layers("Bilinear", 2, 3, call=bilinear)("no bias", 3, 2, 4, bias=False),
    on_images("Conv2d", lambda: nn.Conv2d(4, 4, 3, padding=1), "on images"),
    on_images("Conv2d", lambda: nn.Conv2d(4, 4, 3, padding=1, groups=2), "on images, grouped"),
    on_images("ConvTranspose2d", lambda: nn.ConvTranspose2d(4, 4, 3, padding=1), "on images"),
    Case(
        "Conv3d",
        lambda: nn.Sequential(nn.Conv3d(1, 2, 2), nn.Tanh(), nn.Flatten(), nn.Linear(16, 2)),
        "on volumes",
        x=normal(1, 3, 3, 3),
    ),
    Case(
        "Conv1d",
        lambda: nn.Sequential(nn.Conv1d(2, 3, 2), nn.Tanh(), nn.Conv1d(3, 2, 2), nn.Flatten(), nn.Linear(6, 2)),
        "on signals",
        x=normal(2, 5),
    ),
    *(
        function(f"F.conv{d}d", lambda x, w, b, d=d: getattr(F, f"conv{d}d")(x, w, b), *SPACE[d], w=WEIGHT[d], b=(2,))
        for d in (1, 2, 3)
    ),
    *(
        function(
            f"F.conv_transpose{d}d",
            lambda x, w, b, d=d: getattr(F, f"conv_transpose{d}d")(x, w, b),
            *SPACE[d],
            w=(4, *WEIGHT[d][1:]),
            b=(4,),
            scale=0.3,
        )
        for d in (1, 2, 3)
    ),
    function("F.conv_tbc", lambda x, w, b: F.conv_tbc(x, w, b, pad=1), 2, 4, w=(3, 4, 2), b=(2,)),
    function("F.linear", F.linear, 6, weight=(4, 6), bias=(4,)),
    function("F.bilinear", lambda x, w, b: F.bilinear(x[:, 0], x[:, 1], w, b), 2, 3, w=(2, 3, 3), b=(2,)),
]
