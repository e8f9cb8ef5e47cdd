"""A pretrained network made ready for tasks of some outputs: its head renewed or kept, and what adapts in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import nn

from metaft.errors import MetaftError
from metaft.inner.rules import Params
from metaft.inner.scope import select, spelled_out
from metaft.models.anatomy import Anatomy, anatomy
from metaft.models.functional import BatchNormMode, Functional
from metaft.models.heads import head_alone, with_new_head, without_head

HeadChoice = Literal["zeros", "random", "kept", "words"]


@dataclass(frozen=True)
class TaskNetwork:
    """The network, whole and in its two parts, which share their parameters' names.

    Args:
        whole: body and head.
        body: what computes the features the head is given.
        head: the head alone.
        fresh: parameters of a new head; empty if the old one is kept.
        adapts: names of the parameters that adapt.
        layers: which layers there are, and in which order they run.
    """

    whole: Functional
    body: Functional
    head: Functional
    fresh: Params
    adapts: tuple[str, ...]
    layers: Anatomy

    def start(self, trained: Params) -> Params:
        """All parameters before the first step: the trained ones, but for a new head."""
        return trained | self.fresh

    def blocks(self) -> list[tuple[str, ...]]:
        """Names that adapt, block by block in the order in which the blocks run, the head last."""
        whole = self.layers.blocks().values()
        found = [tuple(name for name in block if name in self.adapts) for block in whole]
        return [block for block in found if block]

    @property
    def in_head(self) -> tuple[str, ...]:
        """Names that adapt in the head."""
        own = self.head.params()
        return tuple(name for name in self.adapts if name in own)

    @property
    def in_body(self) -> tuple[str, ...]:
        """Names that adapt in the body."""
        own = self.head.params()
        return tuple(name for name in self.adapts if name not in own)


def with_task_head(
    model: nn.Module, outputs: int, *, scope: str, head: HeadChoice, seed: int, batch_norm: BatchNormMode
) -> TaskNetwork:
    """Give a network a head for other outputs, and choose what adapts.

    Args:
        model: the network; left as it is.
        outputs: of the new head.
        scope: what adapts; a new head joins it, unless a part of the scope is ``!head``.
        head: "zeros", "random", "words" (zeros, until a task says its words), or "kept" for no new one.
        seed: of a random head.
        batch_norm: the mode of the whole network.

    Returns:
        The network.

    Raises:
        MetaftError: if the network has no linear head, or a part of the scope matches nothing.
    """
    renewed = model if head == "kept" else with_new_head(model, outputs, seed, "zeros" if head == "words" else head)
    whole, alone = Functional(renewed, batch_norm), Functional(head_alone(renewed))
    order = tuple(whole.params())
    chosen = set(select(order, spelled_out(scope, renewed)))
    if chosen and chosen <= set(whole.frozen):
        raise MetaftError(
            f"scope {scope!r} names frozen parameters alone ({min(chosen)!r}, …), which do not adapt; let them require "
            "a gradient (frozen=nothing), or choose another scope"
        )
    if head != "kept" and "!head" not in [part.strip() for part in scope.split(",")]:
        chosen |= set(alone.params())
    fresh = {} if head == "kept" else alone.params()
    adapts = tuple(n for n in order if n in chosen and n not in whole.frozen)
    return TaskNetwork(whole, Functional(without_head(renewed), batch_norm), alone, fresh, adapts, anatomy(renewed))
