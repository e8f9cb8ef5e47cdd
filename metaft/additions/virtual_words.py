"""Virtual words: places in a text that hold no word of the vocabulary, and whose vectors are learned."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding, pad

from metaft.additions.addition import Params, Piece
from metaft.data.texts.labelled_texts import PADDING
from metaft.errors import MetaftError
from metaft.models.anatomy import anatomy

Where = Literal["before", "around"]
INPUT = "input"
"""The layer through which the numbers of words come into a network of texts."""


@dataclass(frozen=True)
class VirtualWords(Piece):
    """Where the numbers of words come in: more of them, before the text and right behind its last word.

    Args:
        first: the number of the first virtual word; the others follow.
        ahead: how many stand before the text.
        behind: how many stand behind it, before its padding.
        foremost: whether no other words may come before them later.
    """

    first: int
    ahead: int
    behind: int = 0
    foremost: bool = False
    word_by_word: ClassVar[bool] = True  # all places are there before padding is left out

    @property
    def takes(self) -> int:
        """Each of them takes a place."""
        return self.ahead + self.behind

    @property
    def end(self) -> int:
        """One more than the last number."""
        return self.first + self.ahead + self.behind

    def before(self, own: Params, x: Tensor) -> Tensor:
        """``int64 [examples, places]`` → ``[examples, ahead + places + behind]``."""
        numbers = torch.arange(self.first, self.end, device=x.device)
        if self.behind:
            x = pad(x, (0, self.behind), value=PADDING)
            places = torch.arange(x.shape[-1], device=x.device)
            length = ((x != PADDING) * (places + 1)).amax(-1, keepdim=True)
            place = places - length  # counted from the text's end; there is padding from 0 on
            one = self.first + self.ahead + place
            x = torch.where((place >= 0) & (place < self.behind), one, x)
        return torch.cat([numbers[: self.ahead].expand(*x.shape[:-1], -1), x], dim=-1)


@dataclass(frozen=True)
class WordVectors(Piece):
    """At the layer of word vectors: those of virtual words.

    Here they are parameters; a subclass makes them of its own, and of each text, by `vectors`. If all texts have the
    same, it is ``word_by_word``.

    Args:
        first: the number of the first virtual word.
        count: how many there are.
    """

    first: int
    count: int
    recalls: ClassVar[bool] = True

    def vectors(self, own: Params, x: Tensor, y: Tensor) -> Tensor:
        """The vectors.

        Args:
            own: the parameters.
            x: ``int64 [examples, places]``.
            y: ``[examples, places, width]``, the vectors of words.

        Returns:
            ``[count, width]``, or ``[examples, count, width]``.
        """
        return own["vectors"]

    def learned(self, own: Params) -> Tensor:
        """What of the parameters can be read as words, ``[…, width]``: the vectors where all texts have the same."""
        return own["vectors"]

    def feature(self, x: Tensor, y: Tensor) -> Tensor:
        """What a small network can know of a text before any layer runs: the mean of its own words' vectors.

        Args:
            x: ``int64 [examples, places]``.
            y: ``[examples, places, width]``.

        Returns:
            ``[examples, width]``; 0 for a text without a word.
        """
        # Words of additions that came before this one are padding by now; those of later ones have higher numbers.
        own = ((x != PADDING) & (x < self.first)).to(y.dtype).unsqueeze(-1)
        return (own * y).sum(-2) / own.sum(-2).clamp(min=1)

    def before(self, own: Params, x: Tensor) -> Tensor:
        """Padding in the place of its virtual words, whose numbers the layer does not know."""
        return x.where(~self._holds(x), PADDING)

    def after(self, own: Params, x: Tensor, y: Tensor) -> Tensor:
        """Their vectors in their places."""
        vectors, places = self.vectors(own, x, y), (x - self.first).clamp(0, self.count - 1)
        if vectors.dim() == 2:
            filled = embedding(places, vectors)
        else:
            filled = vectors.gather(-2, places.unsqueeze(-1).expand(*places.shape, vectors.shape[-1]))
        return torch.where(self._holds(x).unsqueeze(-1), filled, y)

    def _holds(self, x: Tensor) -> Tensor:
        return (x >= self.first) & (x < self.first + self.count)


@dataclass(frozen=True)
class UnknownWords(Piece):
    """At the layer of word vectors: virtual words that are given no vector there, but that of padding.

    Args:
        first: the number of the first virtual word.
        count: how many there are.
    """

    first: int
    count: int

    def before(self, own: Params, x: Tensor) -> Tensor:
        """Padding in their places."""
        return x.where((x < self.first) | (x >= self.first + self.count), PADDING)


def add_words(
    model: nn.Module, ahead: int, behind: int, make: Callable[[int, int], Piece], whose: str, foremost: bool = False
) -> dict[str, Piece]:
    """The two pieces by which a network reads virtual words.

    Args:
        model: a network that takes words in at a layer ``input``.
        ahead: how many stand before the text, and before virtual words that are there already.
        behind: how many stand behind it, and behind those.
        make: what gives the vectors, from the number of the first word and how many there are.
        whose: the addition, for the message.
        foremost: whether no other words may come before them later.

    Returns:
        Layer → piece.

    Raises:
        MetaftError: if it takes no words in; if words that are there have to be the first; or if these would stand
            behind the text where no word looks back.
    """
    require_input(model, whose)
    for name, child in model.get_submodule(INPUT).named_children():
        if getattr(getattr(child, "piece", None), "foremost", False):
            raise MetaftError(
                f"{whose} puts words before those of {name!r}, which have to be the first; attach it before"
            )
    if behind and getattr(model, "causal", False):
        raise MetaftError(
            f"{whose}: where = around: in a {type(model).__name__} that reads in one direction no word of the text "
            "sees what stands behind it; take where=before"
        )
    name = word_layer(model, whose)
    first = first_number(model, name)
    return {INPUT: VirtualWords(first, ahead, behind, foremost), name: make(first, ahead + behind)}


def require_input(model: nn.Module, whose: str) -> None:
    """Refuse a network that takes no words in at a layer ``input``.

    Args:
        model: the network.
        whose: the addition, for the message.

    Raises:
        MetaftError: if there is no such layer.
    """
    if not isinstance(getattr(model, INPUT, None), nn.Identity):
        raise MetaftError(
            f"{whose} puts words into a text, and this {type(model).__name__} takes none in at a layer {INPUT!r}; use "
            "transformer, stories260k or hf:…"
        )


def first_number(model: nn.Module, words: str) -> int:
    """The number that the next virtual word can have: behind the vocabulary, and those that are there already.

    Args:
        model: the network.
        words: its layer of word vectors.
    """
    own = model.get_submodule(words)
    taken = (getattr(child, "piece", None) for child in model.get_submodule(INPUT).children())
    return max([int(own.num_embeddings), *(piece.end for piece in taken if isinstance(piece, VirtualWords))])  # type: ignore[arg-type]


def word_layer(model: nn.Module, whose: str) -> str:
    """The layer that gives each word its vector: the network's ``embedding``, or else the first one that runs.

    Args:
        model: the network.
        whose: the addition that asks, for the message.

    Raises:
        MetaftError: if there is none.
    """
    told = getattr(model, "embedding", None)
    told = getattr(told, "words", told)
    layers = dict(model.named_modules())
    found = [name for name, layer in layers.items() if layer is told and isinstance(layer, nn.Embedding)]
    if not found:
        found = [name for name in anatomy(model).order if isinstance(layers[name], nn.Embedding)]
    if not found:
        raise MetaftError(f"{whose} goes to the vectors of words, and this {type(model).__name__} has none")
    return found[0]
