"""Adapters: small bottlenecks in each block (Houlsby et al. 2019; Pfeiffer et al. 2021; He et al. 2022)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metaft.additions.addition import Addition, Params, Piece
from metaft.additions.small_networks import Place, with_small_networks
from metaft.errors import MetaftError, nearest
from metaft.validate import require_count, require_positive

Activation = Literal["relu", "gelu", "silu", "tanh", "none"]
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu, "gelu": F.gelu, "silu": F.silu, "tanh": torch.tanh, "none": lambda x: x,
}  # fmt: skip


@dataclass(frozen=True)
class Adapter(Addition):
    """y + s · (U φ(D y + d) + u) behind a part of a block; D ``[width, n]`` is drawn, the rest begins at 0.

    In a transformer by ``place``:

    - "houlsby": behind attention's last layer and behind feed-forward's, before either is added to the residual stream
      (Houlsby et al. 2019, §2.1).
    - "pfeiffer": behind feed-forward alone. Deviation from Pfeiffer et al. 2021 as in AdapterHub's ``seq_bn``: D reads
      what feed-forward answers, there the normed sum of that and the residual stream.
    - "parallel": y + s · (U φ(D x + d) + u), where x is what feed-forward is given, behind a norm that stands before it
      (He et al. 2022, table 1; s = 4 there).

    In a network without attention: behind each block but the head, in one with convolutions as 1×1 convolutions
    (Rebuffi et al. 2018, whose adapters are linear: ``activation=none``).

    Deviations: what a block drops in training is dropped behind the adapter; and U = 0, where Houlsby et al. draw U and
    D near 0.

    Args:
        place: "houlsby", "pfeiffer" or "parallel"; "houlsby" if None. Only for transformers.
        width: of the bottleneck, in numbers.
        reduction: the bottleneck is so many times narrower than n, and at least 1 wide; 16 if neither is given.
        activation: φ: "relu", "gelu", "silu", "tanh" or "none".
        scale: s.

    Raises:
        MetaftError: if an option is unknown, a number below 1, the scale not positive, or both width and reduction are
            given.
    """

    place: Place | None = None
    width: int | None = None
    reduction: int | None = None
    activation: Activation = "gelu"
    scale: float = 1.0
    name: ClassVar[str] = "adapter"

    def __post_init__(self) -> None:
        require_bottleneck(self.name, self.place, self.width, self.reduction, self.activation, self.scale)

    def sites(self, model: nn.Module) -> Mapping[str, Piece]:
        """The last layers of attention and feed-forward, feed-forward itself, or blocks.

        Raises:
            MetaftError: if the network has no such place.
        """
        return with_small_networks(model, self.place, self._bottleneck, self.name)

    def _bottleneck(self, size: int, layer: str) -> Bottleneck:
        width = self.width or max(1, size // (self.reduction or 16))
        return Bottleneck(size, width, self.activation, self.scale)


@dataclass(frozen=True)
class Bottleneck:
    """s · (U φ(D x + d) + u).

    Args:
        size: n.
        width: how many numbers D answers with.
        activation: φ.
        scale: s.
    """

    size: int
    width: int
    activation: Activation
    scale: float

    def create(self, draw: torch.Generator) -> Params:
        """D as torch draws a Linear layer's weight; the rest 0."""
        down = torch.empty(self.width, self.size)
        nn.init.kaiming_uniform_(down, a=math.sqrt(5), generator=draw)
        return {
            "down": down,
            "down_bias": torch.zeros(self.width),
            "up": torch.zeros(self.size, self.width),
            "up_bias": torch.zeros(self.size),
        }

    def __call__(self, own: Params, x: Tensor) -> Tensor:
        """``[..., n]`` → ``[..., n]``."""
        hidden = ACTIVATIONS[self.activation](F.linear(x, own["down"], own["down_bias"]))
        return self.scale * F.linear(hidden, own["up"], own["up_bias"])


def require_bottleneck(
    whose: str, place: str | None, width: int | None, reduction: int | None, activation: str, scale: float
) -> None:
    """Refuse options of which no bottleneck can be made.

    Args:
        whose: the addition's name.
        place: where it goes.
        width: of it.
        reduction: how many times narrower it is.
        activation: inside.
        scale: of what it answers.

    Raises:
        MetaftError: naming the option.
    """
    known = {"place": (place or "houlsby", get_args(Place)), "activation": (activation, get_args(Activation))}
    for option, (value, values) in known.items():
        if value not in values:
            raise MetaftError(f"{whose} has no {option} {value!r}{nearest(value, values)}")
    for option, number in (("width", width), ("reduction", reduction)):
        if number is not None:
            require_count(number, f"the {option} of {whose}", 1)
    if width is not None and reduction is not None:
        raise MetaftError(f"{whose}: width = {width} and reduction = {reduction} say the same; give one of them")
    require_positive(scale, f"the scale of {whose}")
