"""How an addition is put into a network: a child of each layer that it sits on, and two hooks."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from metaft.additions.addition import Addition, Piece
from metaft.additions.places import watched
from metaft.errors import MetaftError
from metaft.models.added import Added
from metaft.models.anatomy import anatomy
from metaft.seeds import require_seed
from metaft.tables import ADDITIONS


def attach(
    model: nn.Module, addition: Addition | str | Iterable[Addition | str], seed: int = 0, name: str | None = None
) -> nn.Module:
    """A copy of a network with an addition, or several.

    It answers as the network does until the new parameters change, if the addition is ``silent``.

    Args:
        model: any module; its own parameters keep their names in the copy.
        addition: what is put in; or its name in the table, with options as in "context:size=5"; or several, in Python
            as a list, in text joined by ``+``: "lora:rank=4+prefix:length=8".
        seed: of the new parameters; torch's global random state is left as it was.
        name: what it is called in the network; its name in the table if None. Two of a kind need two names.

    Returns:
        The copy.

    Raises:
        MetaftError: if the network has no layer for it, or one of them has something of that name or does not run; or
            if several are given one name.
    """
    additions = _listed(addition)
    if name is not None and (len(additions) > 1 or not name.isidentifier()):
        raise MetaftError(f"name = {name!r}: one addition is called by one word; attach several one after another")
    network = copy.deepcopy(model)
    draw = torch.Generator().manual_seed(require_seed(seed))
    for one in additions:
        _put(network, one, name or one.name, draw)
    return network


def read(text: str) -> list[str]:
    """The additions that a text asks for, each with its options.

    Args:
        text: ``name:option=value,…``, several joined by ``+``.

    Returns:
        One text for each.
    """
    return re.split(rf"\+(?=(?:{'|'.join(map(re.escape, ADDITIONS))})(?:[:+]|$))", text)


def _listed(given: Addition | str | Iterable[Addition | str]) -> list[Addition]:
    if isinstance(given, str):
        return [ADDITIONS.make(part) for part in read(given)]
    if isinstance(given, Addition):
        return [given]
    return [one for part in given for one in _listed(part)]


def _put(network: nn.Module, addition: Addition, name: str, draw: torch.Generator) -> None:
    sites = addition.sites(network)
    pieces: Mapping[str, Piece] = sites if isinstance(sites, Mapping) else dict.fromkeys(sites, addition)
    _require_run(network, [site for site, piece in pieces.items() if acts(piece, "before") or acts(piece, "after")])
    like = next((p for p in network.parameters() if p.is_floating_point()), torch.empty(0))
    common: dict[tuple[str, torch.Size], nn.Parameter] = {}
    for site, piece in pieces.items():
        layer = network.get_submodule(site)
        if hasattr(layer, name):
            where = f"its layer {site!r}" if site else "it"
            raise MetaftError(
                f"{type(network).__name__}: {where} has something called {name!r} already; give the addition another "
                "name, as in metaft.additions.attach(…, name='other')"
            )
        own = {n: nn.Parameter(v.to(like)) for n, v in piece.create(layer, draw).items()}
        for n in piece.shared:
            if n in own:
                own[n] = common.setdefault((n, own[n].shape), own[n])
        layer.add_module(name, Added(addition, piece.settled(), own).train(layer.training))
        # A piece that leaves one as it is costs nothing there.
        if acts(piece, "before"):
            layer.register_forward_pre_hook(_Before(name))
        if acts(piece, "after"):
            layer.register_forward_hook(_After(name))


def acts(piece: Piece, where: str) -> bool:
    """Whether a piece does something at one of its places: "before", "after" or "attended"."""
    return getattr(type(piece), where) is not getattr(Piece, where)


@dataclass(frozen=True)
class _Before:
    name: str

    def __call__(self, layer: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...] | None:
        added: Added = getattr(layer, self.name)
        if not added.active:
            return None
        at = added.piece.argument
        added.recall(given[at])
        return (*given[:at], added.piece.before(added.own(), given[at]), *given[at + 1 :])


@dataclass(frozen=True)
class _After:
    name: str

    def __call__(self, layer: nn.Module, given: tuple[Any, ...], answer: Any) -> Any:
        added: Added = getattr(layer, self.name)
        if not added.active:
            return answer
        # Torch's attention answers with its weights too.
        first = answer if isinstance(answer, Tensor) else answer[0]
        found = added.piece.after(added.own(), added.dropped(added.recalled(given[0])), first)
        return found if isinstance(answer, Tensor) else (found, *answer[1:])


def _require_run(model: nn.Module, sites: list[str]) -> None:
    """Refuse layers that a forward pass does not call, such as one whose weight another layer uses as a matrix."""
    x = anatomy(model).example
    if x is None:  # no input was found that it takes
        return
    ran = watched(model, sites, x)
    idle = [site for site in sites if site not in ran]
    if idle:
        raise MetaftError(
            f"{type(model).__name__}: nothing can be added to {idle[0]!r}, which no forward pass calls as a layer"
        )


def placed(model: nn.Module, name: str | None = None) -> dict[str, Added]:
    """The layers that an addition sits on, and what is beside each.

    Args:
        model: a network.
        name: what the addition is called; None for those of all, by the name of the child itself.

    Returns:
        Layer → what stands beside it.

    Raises:
        MetaftError: if there is no addition of that name.
    """
    found = {path: part for path, part in model.named_modules() if isinstance(part, Added)}
    if name is None:
        return found
    named = {path.rpartition(".")[0]: part for path, part in found.items() if path.rpartition(".")[2] == name}
    if not named:
        there = sorted({path.rpartition(".")[2] for path in found})
        raise MetaftError(
            f"this {type(model).__name__} has no addition {name!r}; it has {', '.join(there) if there else 'none'}"
        )
    return named
