"""What an addition is, and how it is put into a network: a child of each layer that it sits on, and two hooks."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from metaft.errors import MetaftError
from metaft.models.added import Added
from metaft.models.anatomy import anatomy
from metaft.seeds import require_seed
from metaft.tables import ADDITIONS

Params = dict[str, Tensor]


@dataclass(frozen=True)
class Addition(ABC):
    """Parameters beside a layer's own; a frozen dataclass, its fields are its options.

    Attributes:
        name: what it is called in scopes and in names: ``encoder.3.query.lora.A`` for layer ``encoder.3.query``.
        per_task: which of its parameters its name means in a scope; all of them if empty.
    """

    name: ClassVar[str]
    per_task: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def sites(self, model: nn.Module) -> tuple[str, ...]:
        """The layers that it sits on.

        Args:
            model: the network.

        Returns:
            Names of layers; "" is the network itself.
        """

    @abstractmethod
    def create(self, layer: nn.Module, draw: torch.Generator) -> Params:
        """Its parameters beside one layer, such that they have no effect yet.

        Args:
            layer: the layer.
            draw: where random numbers come from.

        Returns:
            Parameters by name.
        """

    def before(self, own: Params, x: Tensor) -> Tensor:
        """What the layer is given.

        Args:
            own: its parameters beside this layer.
            x: what the layer would be given.

        Returns:
            Likewise; unchanged by default.
        """
        return x

    def after(self, own: Params, x: Tensor, y: Tensor) -> Tensor:
        """What the layer answers.

        Args:
            own: its parameters beside this layer.
            x: what the layer was given.
            y: what it answered.

        Returns:
            Likewise; unchanged by default.
        """
        return y

    def merged(self, own: Params, weight: Tensor) -> Tensor | None:
        """A weight with which the layer alone answers the same; None if there is none.

        Args:
            own: its parameters beside this layer.
            weight: the layer's.
        """
        return None


@dataclass(frozen=True)
class _Before:
    name: str

    def __call__(self, layer: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
        added = getattr(layer, self.name)
        return (added.addition.before(added.own(), given[0]), *given[1:])


@dataclass(frozen=True)
class _After:
    name: str

    def __call__(self, layer: nn.Module, given: tuple[Any, ...], answer: Any) -> Any:
        added = getattr(layer, self.name)
        return added.addition.after(added.own(), given[0], answer)


def attach(model: nn.Module, addition: Addition | str, seed: int = 0) -> nn.Module:
    """A copy of a network with an addition; it answers as the network does until the new parameters change.

    Args:
        model: any module; its own parameters keep their names in the copy.
        addition: what is put in; or its name in the table, with options as in "context:size=5".
        seed: of the new parameters; torch's global random state is left as it was.

    Returns:
        The copy.

    Raises:
        MetaftError: if the network has no layer for it, or one of them has something of that name or does not run.
    """
    addition = ADDITIONS.make(addition) if isinstance(addition, str) else addition
    network, name = copy.deepcopy(model), addition.name
    draw = torch.Generator().manual_seed(require_seed(seed))
    like = next(model.parameters(), torch.empty(0))
    sites = addition.sites(network)
    _require_run(model, sites)
    for site in sites:
        layer = network.get_submodule(site)
        if hasattr(layer, name):
            where = f"its layer {site!r}" if site else "it"
            raise MetaftError(f"{type(model).__name__}: {where} has something called {name!r} already")
        own = {n: v.to(like) for n, v in addition.create(layer, draw).items()}
        layer.add_module(name, Added(addition, own))
        # A subclass that leaves one as it is costs nothing there.
        if type(addition).before is not Addition.before:
            layer.register_forward_pre_hook(_Before(name))
        if type(addition).after is not Addition.after:
            layer.register_forward_hook(_After(name))
    return network


def _require_run(model: nn.Module, sites: tuple[str, ...]) -> None:
    """Refuse layers that a forward pass does not call, such as one whose weight another layer uses as a matrix."""
    x = anatomy(model).example
    if x is None:  # no input was found that it takes
        return
    ran: set[str] = set()
    other = copy.deepcopy(model).eval()
    for site in sites:
        other.get_submodule(site).register_forward_hook(lambda *_, site=site: ran.add(site))
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        other(x)
    idle = [site for site in sites if site not in ran]
    if idle:
        raise MetaftError(
            f"{type(model).__name__}: nothing can be added to {idle[0]!r}, which no forward pass calls as a layer"
        )
