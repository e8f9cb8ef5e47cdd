"""What an addition is: parameters beside a network's own, and what they do to what passes through its layers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

Params = dict[str, Tensor]
Weight = tuple[Tensor, Tensor | None]
"""A layer's weight and bias."""
Seen = tuple[Tensor, Tensor, Tensor | None]
"""Keys, values, and what is added to the scores."""


class Piece:
    """What stands beside one layer: its parameters, and up to four places at which they act. All of it is pure.

    Attributes:
        argument: which of the arguments that the layer is called with `before` changes; the first is 0.
        shared: names of parameters that are one and the same beside all layers that ask for that shape.
        word_by_word: whether, between embedding and head, it does to each word by itself what it does; only then can
            padding be left out before it.
        dropout: share of what `after` is told of the layer's input that is dropped in training.
        shift: where a network takes words in, how many places stand before the text that hold no word.
        recalls: whether `after` is told what the piece was given, not what its `before` made of it.
    """

    argument: int = 0
    shared: tuple[str, ...] = ()
    word_by_word: ClassVar[bool] = False
    dropout: float = 0.0
    shift: int = 0
    recalls: ClassVar[bool] = False

    @property
    def takes(self) -> int:
        """How many places of a text it takes, where a network takes words in."""
        return self.shift

    def create(self, layer: nn.Module, draw: torch.Generator) -> Params:
        """The parameters beside one layer, such that they have no effect yet where that is possible.

        Args:
            layer: the layer.
            draw: where random numbers come from.

        Returns:
            Parameters by name, without dots and colons.
        """
        return {}

    def settled(self) -> Piece:
        """The piece once its parameters are made, without what they began as; itself by default."""
        return self

    def before(self, own: Params, x: Tensor) -> Tensor:
        """What the layer is given.

        Args:
            own: the parameters beside it.
            x: what it would be given.

        Returns:
            Likewise; unchanged by default.
        """
        return x

    def after(self, own: Params, x: Tensor, y: Tensor) -> Tensor:
        """What the layer answers.

        Args:
            own: the parameters beside it.
            x: what it was given.
            y: what it answered.

        Returns:
            Likewise; unchanged by default.
        """
        return y

    def attended(
        self, own: Params, key: Tensor, value: Tensor, mask: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """What an attention's queries see.

        Args:
            own: the parameters beside it.
            key: ``[examples, heads, places, size]``.
            value: likewise.
            mask: added to the scores, ``[examples, 1, 1 or places, places]``; None for nothing.

        Returns:
            The three, perhaps of more places; unchanged by default.
        """
        return key, value, mask

    def merged(self, own: Params, weight: Tensor, bias: Tensor | None) -> Weight | None:
        """A weight and a bias with which the layer alone answers the same; None if there are none.

        Args:
            own: the parameters beside the layer.
            weight: the layer's.
            bias: likewise; None where it has none.
        """
        return None


class Addition(Piece, ABC):
    """Parameters that are put into a network; a frozen dataclass, its fields are its options.

    Where it does the same beside every layer, it is that piece itself.

    Attributes:
        name: what it is called in scopes and in names: ``encoder.3.query.lora.A`` for layer ``encoder.3.query``.
        per_task: which of its parameters its name means in a scope; all of them if empty.
        silent: whether the network answers as before until the new parameters change.
    """

    name: ClassVar[str]
    per_task: ClassVar[tuple[str, ...]] = ()
    silent: ClassVar[bool] = True

    @abstractmethod
    def sites(self, model: nn.Module) -> tuple[str, ...] | Mapping[str, Piece]:
        """The layers that it sits on.

        Args:
            model: the network.

        Returns:
            Names of layers, "" for the network itself; or name → what stands beside that layer.

        Raises:
            MetaftError: if the network has no layer for it.
        """
