"""Where small networks go: behind the parts of a transformer's blocks, beside feed-forward, or behind other blocks."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol

import torch
from torch import Tensor, nn

from metaft.additions.addition import Params, Piece
from metaft.additions.linear import sizes
from metaft.additions.places import Block, Runs, transformer_blocks, watched
from metaft.errors import MetaftError
from metaft.models.anatomy import anatomy

Place = Literal["houlsby", "pfeiffer", "parallel"]
"""Behind attention and feed-forward; behind feed-forward alone; beside feed-forward."""


class SmallNetwork(Protocol):
    """A function from n numbers to n numbers."""

    def create(self, draw: torch.Generator) -> Params:
        """Its parameters, such that it answers 0.

        Args:
            draw: where random numbers come from.
        """

    def __call__(self, own: Params, x: Tensor) -> Tensor:
        """``[..., n]`` → ``[..., n]``.

        Args:
            own: its parameters.
            x: what it reads.
        """


@dataclass(frozen=True)
class _Holding(Piece):
    """What holds a small network.

    Args:
        network: f.
        shared: which of its parameters it has together with the others.
    """

    network: SmallNetwork
    shared: tuple[str, ...] = ()
    word_by_word: ClassVar[bool] = True

    def create(self, layer: nn.Module, draw: torch.Generator) -> Params:
        """The network's."""
        return self.network.create(draw)


@dataclass(frozen=True)
class Behind(_Holding):
    """y + f(y).

    Args:
        channels: whether the numbers that f reads lie along the first axis behind examples, as those of a convolution.
    """

    channels: bool = False

    def after(self, own: Params, x: Tensor, y: Tensor) -> Tensor:
        """y + f(y), place by place."""
        if self.channels:
            return y + self.network(own, y.movedim(1, -1)).movedim(-1, 1)
        return y + self.network(own, y)


@dataclass(frozen=True)
class Beside(_Holding):
    """y + f(x)."""

    def after(self, own: Params, x: Tensor, y: Tensor) -> Tensor:
        """y + f(x)."""
        return y + self.network(own, x)


@dataclass(frozen=True)
class IntoResidual(_Holding):
    """x + f(x), where x is what a layer adds to its answer.

    Args:
        argument: which of the layer's arguments that is.
    """

    argument: int = 1

    def before(self, own: Params, x: Tensor) -> Tensor:
        """x + f(x)."""
        return x + self.network(own, x)


def with_small_networks(
    model: nn.Module, place: Place | None, make: Callable[[int, str], SmallNetwork], whose: str,
    shared: tuple[str, ...] = (),
) -> Mapping[str, Piece]:  # fmt: skip
    """A small network at each place for one.

    Args:
        model: the network.
        place: where in a transformer's blocks; "houlsby" if None.
        make: how many numbers are read, and the layer's name → the small network.
        whose: the addition, for the message.
        shared: which of its parameters all have together.

    Returns:
        Name of a layer → what stands beside it. In a network without attention these are its blocks but the head.

    Raises:
        MetaftError: if there is no such place.
    """
    if not anatomy(model).attends:
        if place is not None:
            raise MetaftError(
                f"{whose}: place = {place} speaks of a transformer's blocks, and this {type(model).__name__} has none; "
                "leave it out"
            )
        return {
            name: Behind(make(size, name), shared, channels) for name, (size, channels) in _blocks(model, whose).items()
        }
    found: dict[str, Piece] = {}
    blocks = transformer_blocks(model, whose)
    for block in blocks:
        if block.down is None:
            raise MetaftError(f"{whose} goes behind feed-forward, and the block of {block.attention!r} has none")
    if place == "parallel":
        for block, (site, argument) in zip(blocks, _beside_feed_forward(model, blocks, whose), strict=True):
            network = make(sizes(model.get_submodule(block.up[0]))[0], site)
            found[site] = Beside(network, shared) if argument == 0 else IntoResidual(network, shared, argument)
        return found
    for block in blocks:
        for name in (block.down,) if place == "pfeiffer" else (block.output, block.down):
            if name is not None:
                found[name] = Behind(make(sizes(model.get_submodule(name))[1], name), shared)
    return found


def _end(model: nn.Module, block: str) -> str:
    """The layer whose answer is the block's; a sequence would run what is put into it as one of its layers."""
    while isinstance(sequence := model.get_submodule(block), nn.Sequential) and len(sequence):
        block += f".{[name for name, _ in sequence.named_children()][-1]}"
    return block


def _blocks(model: nn.Module, whose: str) -> dict[str, tuple[int, bool]]:
    """Where the blocks but the head end: how many numbers each answers with, and whether those are channels."""
    names = [_end(model, name) for name in list(anatomy(model).blocks())[:-1]]
    if not names:
        raise MetaftError(f"{whose} goes behind each block but the head, and this {type(model).__name__} has no other")
    ran = _run(model, names, whose)
    found: dict[str, tuple[int, bool]] = {}
    for name in names:
        answer = ran[name][1] if name in ran else None
        if not isinstance(answer, Tensor):
            raise MetaftError(
                f"{whose} goes behind each block, and {name!r} of this {type(model).__name__} answers with no tensor "
                "in a forward pass"
            )
        channels = answer.dim() > 2 and any(isinstance(part, nn.modules.conv._ConvNd) for part in model.modules())
        found[name] = answer.shape[1 if channels else -1], channels
    return found


def _beside_feed_forward(model: nn.Module, blocks: tuple[Block, ...], whose: str) -> list[tuple[str, int]]:
    """For each block a layer, and which of its arguments is the input of feed-forward.

    Either the layer is feed-forward itself and that is its first argument; or it is the end of feed-forward, called
    with what it adds to its answer, as in BERT.
    """
    names = [name for block in blocks for name in (*block.up[:1], *_around(block), str(block.down))]
    ran = _run(model, names, whose)
    found = []
    for block in blocks:
        place = next((place for site in _around(block) if (place := _place(model, block, site, ran))), None)
        if place is None:
            raise MetaftError(
                f"{whose}: place = parallel needs one layer that is given what feed-forward is given, and the block of "
                f"{block.attention!r} has none; take place=houlsby or place=pfeiffer"
            )
        found.append(place)
    return found


def _place(model: nn.Module, block: Block, site: str, ran: Runs) -> tuple[str, int] | None:
    """A layer and an argument such that what is added there comes out as if it had been added to feed-forward's."""
    down = str(block.down)
    if not block.up or not {block.up[0], site, down} <= ran.keys():
        return None
    x, (given, answer) = ran[block.up[0]][0][0], ran[site]
    same = [isinstance(one, Tensor) and one.shape == x.shape and torch.equal(one, x) for one in given]
    if True not in same:
        return None
    argument, last = same.index(True), ran[down][1]
    if argument == 0:
        whole = isinstance(answer, Tensor) and answer.shape == last.shape and torch.equal(answer, last)
        return (site, 0) if whole else None
    layer = copy.deepcopy(model.get_submodule(site)).eval()
    more = torch.linspace(-1, 1, x.numel()).reshape(x.shape).to(x)
    with torch.no_grad():
        into = layer(*given[:argument], x + more, *given[argument + 1 :])
        layer.get_submodule(down.removeprefix(f"{site}.")).register_forward_hook(lambda *seen: seen[-1] + more)
        return (site, argument) if torch.allclose(into, layer(*given), rtol=1e-4, atol=1e-5) else None


def _around(block: Block) -> list[str]:
    """The layers that the last one of feed-forward stands in and attention does not, the largest first."""
    path = str(block.down).split(".")[:-1]
    around = [".".join(path[:depth]) for depth in range(1, len(path) + 1)]
    return [name for name in around if not f"{block.attention}.".startswith(f"{name}.")]


def _run(model: nn.Module, names: list[str], whose: str) -> Runs:
    """What some layers are given and answer; what does not run is left out."""
    x = anatomy(model).example
    if x is None:
        raise MetaftError(
            f"{whose}: no input was found that this {type(model).__name__} takes; tell its shape by an attribute "
            "input_shape = (…) of the network"
        )
    return watched(model, names, x)
