"""Which additions of a network act; a network without one, with one merged into its weights, or with a frozen base."""

from __future__ import annotations

import copy

import torch
from torch import nn

from metaft.additions.attach import _After, _Before, acts, placed
from metaft.errors import MetaftError
from metaft.models.added import Added
from metaft.models.anatomy import anatomy
from metaft.models.quantised_layers import Quantised, let_go


def only(model: nn.Module, *names: str) -> nn.Module:
    """A copy of a network in which the additions named act, and no others.

    Args:
        model: a network with additions.
        names: what they are called in it; none for the network as it was.

    Returns:
        The copy, all parameters in it.

    Raises:
        MetaftError: if there is no addition of that name.
    """
    for name in names:
        placed(model, name)
    found = copy.deepcopy(model)
    for path, added in placed(found).items():
        added.active = path.rpartition(".")[2] in names
    return found


def without(model: nn.Module, name: str) -> nn.Module:
    """A copy of a network without an addition.

    Args:
        model: the network.
        name: what the addition is called in it.

    Returns:
        The copy.

    Raises:
        MetaftError: if there is no addition of that name.
    """
    found = copy.deepcopy(model)
    for site in placed(found, name):
        _take_out(found.get_submodule(site), name)
    return found


def merged(model: nn.Module, name: str) -> nn.Module:
    """A copy of a network whose own weights have taken an addition in: it answers the same, at no further cost.

    A quantised weight that takes one in is an ordinary one then.

    Args:
        model: the network.
        name: what the addition is called in it.

    Returns:
        The copy, in whose layers nothing stands beside the weights any more.

    Raises:
        MetaftError: if there is no addition of that name, no weights do the same, or another one stands in between.
    """
    found = copy.deepcopy(model)
    for site, added in placed(found, name).items():
        layer = found.get_submodule(site)
        others = [(n, part) for n, part in layer.named_children() if isinstance(part, Added) and part.active]
        if (between := _between(name, added, others)) is not None:
            raise MetaftError(f"{name!r} cannot be merged before {between!r}, which stands between it and {site!r}")
        _merge(layer, name, added, site)
    return found


def all_merged(model: nn.Module) -> nn.Module:
    """A copy of a network whose own weights have taken in all additions that act; others are left out.

    Args:
        model: the network.

    Returns:
        The copy, without additions.

    Raises:
        MetaftError: if no weights do the same.
    """
    found = copy.deepcopy(model)
    for path, added in placed(found).items():
        if not added.active:
            _take_out(found.get_submodule(path.rpartition(".")[0]), path.rpartition(".")[2])
    # Of one layer, the nearest first: those behind it as they were put in, then those before it, last ones first.
    for last in (False, True):
        paths = list(placed(found).items())
        for path, added in reversed(paths) if last else paths:
            site, _, name = path.rpartition(".")
            if last or acts(added.piece, "after"):
                _merge(found.get_submodule(site), name, added, site)
    return found


def _between(name: str, added: Added, others: list[tuple[str, Added]]) -> str | None:
    """The addition that acts between one and its layer's own product."""
    behind = [n for n, part in others if acts(part.piece, "after")]
    before = [n for n, part in others if acts(part.piece, "before")]
    near = behind[:1] if acts(added.piece, "after") else [n for n in behind if n != name] or before[-1:]
    return next((n for n in near if n != name), None)


def _merge(layer: nn.Module, name: str, added: Added, site: str) -> None:
    weight, bias = getattr(layer, "weight", None), getattr(layer, "bias", None)
    with torch.no_grad():
        moved = None if weight is None else added.piece.merged(added.own(), weight, bias)
    if moved is None:
        kind = type(added.addition).__name__
        raise MetaftError(f"{name!r} at {site or 'the network'!r} cannot be merged: no weights do what {kind} does")
    if isinstance(layer, Quantised):
        let_go(layer, moved[0]).requires_grad_(False)
        moved = None, moved[1]
    for own, value in zip(("weight", "bias"), moved, strict=True):
        if value is not None:
            setattr(layer, own, nn.Parameter(value, getattr(layer, own).requires_grad))
    _take_out(layer, name)


def freeze_base(model: nn.Module) -> nn.Module:
    """Let nothing of a network require a gradient but its additions and its head; in place.

    Args:
        model: the network.

    Returns:
        The same network.
    """
    head = anatomy(model).head
    free = {id(p) for part in model.modules() if isinstance(part, Added) for p in part.parameters()}
    free |= {id(p) for p in model.get_submodule(head).parameters()} if head is not None else set()
    for p in model.parameters():
        if id(p) not in free:
            p.requires_grad_(False)
    return model


def _take_out(layer: nn.Module, name: str) -> None:
    delattr(layer, name)
    for hooks in (layer._forward_pre_hooks, layer._forward_hooks):
        for key in [k for k, hook in hooks.items() if isinstance(hook, _Before | _After) and hook.name == name]:
            del hooks[key]
