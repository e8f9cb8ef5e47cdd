"""Where additions go in a transformer: the parts of each block by what they do, and layers chosen by role or name."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from metaft.errors import MetaftError, nearest
from metaft.models.anatomy import COMPOSITE, Anatomy, anatomy
from metaft.models.roles import TOGETHER

Kinds = tuple[type[nn.Module], ...]
LAYERS = ("query", "key", "value", "output", "attention", "feed-forward", "up", "down")
"""What layers with a matrix can be asked for by."""


@dataclass(frozen=True)
class Block:
    """One block of a transformer; layers by name.

    Args:
        attention: the module in which queries ask; of torch's own attention, that layer.
        query: gives the queries, alone or together with keys and values.
        key: likewise.
        value: likewise.
        output: answers for the attention.
        up: the layers of feed-forward that are given what the block passes on; a gate is one.
        down: the last layer of feed-forward; None where there is none.
    """

    attention: str
    query: str
    key: str
    value: str
    output: str
    up: tuple[str, ...]
    down: str | None

    @property
    def together(self) -> bool:
        """Whether one layer gives queries, keys and values."""
        return self.query == self.key


def transformer_blocks(model: nn.Module, whose: str) -> tuple[Block, ...]:
    """The blocks of a transformer, in the order in which they run.

    Args:
        model: the network.
        whose: the addition that asks, for the message.

    Returns:
        The blocks.

    Raises:
        MetaftError: if it is none, or its parts cannot be told apart.
    """
    found = anatomy(model)
    roles: dict[str, set[str]] = {}
    for name, layer in found.layer_of.items():
        roles.setdefault(layer, set()).update(found.roles[name])
    attentions: dict[str, dict[str, str]] = {}
    for layer, of_layer in roles.items():
        for role in ("query", "key", "value", TOGETHER):
            if role in of_layer:
                whole = isinstance(model.get_submodule(layer), nn.MultiheadAttention)
                attentions.setdefault(layer if whole else _parent(layer), {})[role] = layer
    if not attentions:
        raise MetaftError(f"{whose} goes into the attention of a transformer, and this {type(model).__name__} has none")
    places = {layer: place for place, layer in enumerate(found.order)}
    blocks = []
    for attention, own in attentions.items():
        own = own if TOGETHER not in own else dict.fromkeys(("query", "key", "value"), own[TOGETHER])
        inside = _block_around(attention, tuple(attentions))
        within = [layer for layer in roles if layer.startswith(inside)]
        outputs = [layer for layer in within if "output" in roles[layer]]
        forward = sorted((n for n in within if "feed-forward" in roles[n]), key=lambda n: places.get(n, len(places)))
        if isinstance(model.get_submodule(attention), nn.MultiheadAttention):
            outputs = [attention]  # its own layer of output never runs as one
        if not outputs:
            raise MetaftError(f"{whose}: which layer answers for the attention {attention!r} is not clear")
        blocks.append(
            Block(attention, **own, output=outputs[-1], up=tuple(forward[:-1]), down=forward[-1] if forward else None)
        )
    return tuple(sorted(blocks, key=lambda block: places.get(block.query, 0)))


def _block_around(attention: str, every: Sequence[str]) -> str:
    """The largest module around an attention that holds no other one, as a prefix of names."""
    around = attention
    while around and not any(
        other != attention and f"{other}.".startswith(_prefix(_parent(around))) for other in every
    ):
        around = _parent(around)
    return _prefix(around)


def chosen_layers(
    model: nn.Module, on: Sequence[str], kinds: tuple[type[nn.Module], ...], whose: str
) -> tuple[str, ...]:
    """Layers by role or name pattern; the head is only taken by name.

    Args:
        model: the network.
        on: roles of `LAYERS`, ``all`` (but the head), or patterns over names with ``*`` and ``?``.
        kinds: of layers that the addition can sit on.
        whose: the addition, for the message.

    Returns:
        Their names, in the network's order.

    Raises:
        MetaftError: if one of them matches nothing.
    """
    found = anatomy(model)
    known = matrices(model, kinds)
    chosen: set[str] = set()
    for part in (part.strip() for part in on):
        taken = _of_role(model, found, part, known, whose)
        taken = taken or {name for name in known if fnmatchcase(name, part)}
        if not taken:
            raise MetaftError(
                f"{whose}: on = {part} matches no layer it can sit on{nearest(part, [*LAYERS, 'all', *known])}"
            )
        chosen |= taken
    return tuple(name for name in known if name in chosen)


def matrices(model: nn.Module, kinds: Kinds) -> list[str]:
    """The layers of some kinds that run as layers, in the network's order."""
    modules = dict(model.named_modules())
    inside = tuple(f"{name}." for name, layer in modules.items() if isinstance(layer, COMPOSITE))
    order = anatomy(model).order  # empty where no input was found that it takes
    runs = lambda name: not order or name in order or not list(modules[name].parameters())
    return [n for n, part in modules.items() if isinstance(part, kinds) and not n.startswith(inside) and runs(n)]


Runs = dict[str, tuple[tuple[Any, ...], Any]]


def watched(model: nn.Module, layers: Iterable[str], x: Tensor) -> Runs:
    """What layers are given and answer in a forward pass.

    Args:
        model: the network; a copy runs, in evaluation mode.
        layers: their names.
        x: ``[examples, *input]``.

    Returns:
        Layer → its arguments, and its answer; none for one that does not run.
    """
    ran: Runs = {}

    def seen(layer: nn.Module, given: tuple[Any, ...], answer: Any, name: str) -> None:
        ran[name] = given, answer

    other = copy.deepcopy(model).eval()
    for name in layers:
        other.get_submodule(name).register_forward_hook(partial(seen, name=name))
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        other(x)
    return ran


def _of_role(model: nn.Module, found: Anatomy, role: str, known: list[str], whose: str) -> set[str]:
    if role == "all":
        return {name for name in known if name != found.head}
    if role not in LAYERS or not found.attends:
        return set()
    blocks = transformer_blocks(model, whose)
    if role in ("query", "key", "value") and any(block.together for block in blocks):
        last = blocks[0].query.rpartition(".")[2]
        raise MetaftError(
            f"{whose}: on = {role}: {blocks[0].query!r} holds query, key and value in one, and the {role} alone cannot "
            f"be chosen; take on=*.{last}"
        )
    names: set[str | None] = set()
    for block in blocks:
        of_attention = block.query, block.key, block.value, block.output
        parts: dict[str, tuple[str | None, ...]] = dict(zip(LAYERS, ((name,) for name in of_attention), strict=False))
        parts |= {"attention": of_attention, "up": block.up, "down": (block.down,)}
        parts["feed-forward"] = (*block.up, block.down)
        names |= set(parts[role])
    return {name for name in known if name in names}


def _parent(name: str) -> str:
    return name.rpartition(".")[0]


def _prefix(name: str) -> str:
    return f"{name}." if name else ""
