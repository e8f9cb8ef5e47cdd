"""Norms of all kinds: tracked or not, affine or not, on one, two and three axes."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from tests.any_module.case import Case, function, layer, layers, normal

SPACE = {1: (3, 4), 2: (3, 2, 3), 3: (3, 2, 2, 2)}
VARIANTS = {
    "": {},
    "no affine": {"affine": False},
    "not tracked": {"track_running_stats": False},
    "not tracked, no affine": {"affine": False, "track_running_stats": False},
    "cumulative average": {"momentum": None},
}
TRACKED = {
    "": {},
    "affine": {"affine": True},
    "tracked": {"track_running_stats": True},
    "tracked, affine": {"affine": True, "track_running_stats": True},
}


class OnImages(nn.Module):
    """The layer between two convolutions, on images: the engine has ways of its own for these."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.before, self.layer = nn.Conv2d(1, 4, 3), layer
        self.after, self.head = nn.Conv2d(4, 3, 2), nn.Linear(12, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.after(self.layer(self.before(x))).flatten(1))


def on_images(of: str, build, variant: str = "on images", **options) -> Case:
    return Case(of, lambda: OnImages(build()), variant, x=normal(1, 5, 5), **options)


CASES: list[Case] = [
    *(
        layers(f"{kind}{d}d", *SPACE[d])(name, 3, **options)
        for d in (1, 2, 3)
        for kind, table in (("BatchNorm", VARIANTS), ("InstanceNorm", TRACKED))
        for name, options in table.items()
    ),
    layers("BatchNorm1d", 6)("no space", 6),
    layers("BatchNorm1d", 6)("no space, not tracked", 6, track_running_stats=False),
    *(layers(f"Lazy{kind}{d}d", *SPACE[d])("") for d in (1, 2, 3) for kind in ("BatchNorm", "InstanceNorm")),
    layers("LazyBatchNorm1d", 6)("not tracked", track_running_stats=False),
    layers("SyncBatchNorm", 6)("", 6),
    layers("SyncBatchNorm", 3, 4)("not tracked", 3, track_running_stats=False),
    layers("LayerNorm", 6)("", 6),
    layers("LayerNorm", 6)("no affine", 6, elementwise_affine=False),
    layers("LayerNorm", 6)("no bias", 6, bias=False),
    layers("LayerNorm", 2, 3, 2)("over two axes", (3, 2)),
    layers("LayerNorm", 4, 3)("on tokens", 3),
    layers("RMSNorm", 6)("", 6),
    layers("RMSNorm", 6)("no affine", 6, elementwise_affine=False),
    layers("RMSNorm", 2, 3, 2)("over two axes, ε 1e-3", (3, 2), eps=1e-3),
    layers("GroupNorm", 4, 3)("", 2, 4),
    layers("GroupNorm", 4, 2, 2)("one group", 1, 4),
    layers("GroupNorm", 4, 2, 2)("a group a channel, no affine", 4, 4, affine=False),
    layers("GroupNorm", 6)("no space", 2, 6),
    layers("LocalResponseNorm", 4, 2, 2)("", 2),
    layers("LocalResponseNorm", 4, 3)("one axis", 3, alpha=0.5, beta=0.6, k=1.5),
    layers("CrossMapLRN2d", 4, 2, 2)("", 3),
    on_images("BatchNorm2d", lambda: nn.BatchNorm2d(4)),
    on_images("BatchNorm2d", lambda: nn.BatchNorm2d(4, track_running_stats=False), "on images, not tracked"),
    on_images("GroupNorm", lambda: nn.GroupNorm(2, 4)),
    on_images("InstanceNorm2d", lambda: nn.InstanceNorm2d(4, affine=True)),
    on_images("LayerNorm", lambda: nn.LayerNorm((4, 3, 3))),
    on_images("MaxPool2d", lambda: nn.MaxPool2d(3, 1, padding=1)),
    on_images("Dropout2d", lambda: nn.Dropout2d(0.3), random="training"),
    layer(
        lambda: nn.Sequential(nn.Linear(6, 6), nn.LayerNorm(6), nn.ReLU(), nn.Linear(6, 6), nn.LayerNorm(6), nn.ReLU()),
        6,
        of="LayerNorm",
        variant="two in a row",
    ),
    layer(
        lambda: nn.Sequential(nn.Linear(6, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Linear(6, 6), nn.BatchNorm1d(6)),
        6,
        of="BatchNorm1d",
        variant="two in a row",
    ),
    function(
        "torch.native_layer_norm",
        lambda x, weight, bias: torch.native_layer_norm(x, (6,), weight, bias, 1e-5)[0],
        6,
        weight=(6,),
        bias=(6,),
    ),
    function(
        "torch.native_layer_norm",
        lambda x, weight, bias: torch.ops.aten.native_layer_norm(x, (6,), weight, bias, 1e-5)[0],
        6,
        weight=(6,),
        bias=(6,),
        variant="as an operator",
    ),
    function(
        "torch.native_layer_norm",
        lambda x, weight, bias: torch.ops.aten.native_layer_norm.default(x, (6,), weight, bias, 1e-5)[0],
        6,
        weight=(6,),
        bias=(6,),
        variant="as an overload",
    ),
    function(
        "torch.native_group_norm",
        lambda x, weight, bias: torch.native_group_norm(x, weight, bias, len(x), 6, 1, 2, 1e-5)[0],
        6,
        weight=(6,),
        bias=(6,),
    ),
    function(
        "torch.native_batch_norm",
        lambda x, weight, bias: torch.native_batch_norm(x, weight, bias, None, None, True, 0.1, 1e-5)[0],
        6,
        weight=(6,),
        bias=(6,),
    ),
    function("F.layer_norm", lambda x, weight, bias: F.layer_norm(x, (6,), weight, bias), 6, weight=(6,), bias=(6,)),
    function("F.layer_norm", lambda x: F.layer_norm(x, (6,)), 6, variant="no affine"),
    function(
        "torch.layer_norm", lambda x, weight, bias: torch.layer_norm(x, (6,), weight, bias), 6, weight=(6,), bias=(6,)
    ),
    function("F.rms_norm", lambda x, weight: F.rms_norm(x, (6,), weight), 6, weight=(6,)),
    function("F.rms_norm", lambda x: F.rms_norm(x, (6,), eps=1e-3), 6, variant="no affine"),
    function("F.group_norm", lambda x, weight, bias: F.group_norm(x, 2, weight, bias), 4, 3, weight=(4,), bias=(4,)),
    function("F.group_norm", lambda x: F.group_norm(x, 2), 4, 3, variant="no affine"),
    function(
        "F.batch_norm",
        lambda x, weight, bias: F.batch_norm(x, None, None, weight, bias, training=True),
        4,
        3,
        weight=(4,),
        bias=(4,),
    ),
    function("F.batch_norm", lambda x: F.batch_norm(x, None, None, training=True), 4, 3, variant="no affine"),
    function(
        "F.batch_norm",
        lambda x, weight, bias, mean: F.batch_norm(x, mean.detach(), mean.detach().square() + 0.5, weight, bias),
        4,
        variant="given statistics",
        weight=(4,),
        bias=(4,),
        mean=(4,),
    ),
    function(
        "F.instance_norm",
        lambda x, weight, bias: F.instance_norm(x, weight=weight, bias=bias),
        3,
        4,
        weight=(3,),
        bias=(3,),
    ),
    function("F.instance_norm", F.instance_norm, 3, 4, variant="no affine"),
    function("F.local_response_norm", lambda x: F.local_response_norm(x, 2), 4, 3),
]
