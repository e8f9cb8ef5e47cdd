"""What a text's vector is: the states of which layers, how they are put together, and at which places."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from metaft.data.texts.labelled_texts import PADDING
from metaft.errors import MetaftError, nearest
from metaft.models.layers import Combine
from metaft.validate import require_positive

Pool = Literal["mean", "first", "last", "marked"]
Signs = tuple[tuple[int, ...], ...]
"""Of each sign that marks words, the numbers that it may have: a tokenizer can know a sign with a space before it."""

_SPAN = re.compile(r"(-?\d+)?\.\.(-?\d+)?")
_NUMBER = re.compile(r"-?\d+")


@dataclass(frozen=True)
class TextVector:
    """One vector for a text, from the states of a transformer's layers.

    Args:
        features: which layers: "last"; "all"; the number of one, where 0 is the embedding and -1 the last; or several,
            "4..6", "-4.." (the last four) or "..2".
        combine: "concatenate" or "average" several layers.
        pool: over which places: the "mean" over words, the "first" (``[CLS]``), the "last" word, or the "marked" ones:
            the mean over the words between two signs, that of the next pair of signs behind it.
        signs: of "marked", the numbers of the signs.
        length: to which vectors are scaled, so that they differ by direction alone; as they are if None.

    Raises:
        MetaftError: if an option is unknown, the length is not positive, or words are to be marked and nobody says by
            what.
    """

    features: str = "last"
    combine: Combine = "concatenate"
    pool: Pool = "mean"
    signs: Signs = ()
    length: float | None = None

    def __post_init__(self) -> None:
        if self.length is not None:
            require_positive(self.length, "the length of a text's vector")
        for name, value, known in (("combine", self.combine, Combine), ("pool", self.pool, Pool)):
            if value not in get_args(known):
                raise MetaftError(f"unknown {name} {value!r} of a text's features{nearest(value, get_args(known))}")
        named = self.features in ("last", "all") or _NUMBER.fullmatch(self.features)
        if not named and (not _SPAN.fullmatch(self.features) or self.features == ".."):
            raise MetaftError(
                f"features = {self.features}: expected last, all, the number of a layer (0 is the embedding, -1 the "
                "last), or several, such as 4..6 or -4.."
            )
        if self.pool == "marked" and not (self.signs and all(self.signs)):
            raise MetaftError("pool = marked: the words are found by their signs, and the tokenizer's are not known")

    def layers(self, count: int) -> tuple[int, ...]:
        """Which of the states are taken.

        Args:
            count: how many there are, the embedding's with them.

        Returns:
            Their places, rising.

        Raises:
            MetaftError: if there are no such layers.
        """
        if self.features in ("last", "all"):
            return tuple(range(count)) if self.features == "all" else (count - 1,)
        begin, _, end = self.features.partition("..") if ".." in self.features else (self.features, "", self.features)
        first, last = int(begin or 0), int(end or -1)
        first, last = (place + count if place < 0 else place for place in (first, last))
        if not (0 <= first < count and 0 <= last < count):
            raise MetaftError(
                f"features = {self.features}: this transformer has layers 0 (its embedding) to {count - 1}, or "
                f"-{count} to -1"
            )
        if first > last:
            raise MetaftError(f"features = {self.features}: from layer {first} back to layer {last}; turn it round")
        return tuple(range(first, last + 1))

    def width(self, count: int, width: int) -> int:
        """How many numbers the vector has.

        Args:
            count: of states, the embedding's with them.
            width: of a state.
        """
        layers = len(self.layers(count)) if self.combine == "concatenate" else 1
        return width * layers * (len(self.signs) if self.pool == "marked" else 1)

    def __call__(self, states: list[Tensor], ids: Tensor) -> Tensor:
        """The vectors of texts.

        Args:
            states: after the embedding and after each block, ``[examples, places, width]`` each.
            ids: ``int64 [examples, places]``, 0 for padding.

        Returns:
            ``[examples, width]``; 0 for a text without a word.
        """
        chosen = [states[layer] for layer in self.layers(len(states))]
        taken = torch.cat(chosen, dim=-1) if self.combine == "concatenate" else torch.stack(chosen).mean(0)
        parts = [_mean(places, taken) for places in self._places(ids)]
        found = parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1)
        return found if self.length is None else self.length * nn.functional.normalize(found, dim=-1)

    def _places(self, ids: Tensor) -> list[Tensor]:
        """The places that count, ``bool [examples, places]``, for each part of the vector."""
        real = ids != PADDING
        if self.pool == "marked":
            return [_between(ids, real, numbers) for numbers in self.signs]
        if self.pool == "first":
            real = real & (real.cumsum(-1) == 1)
        elif self.pool == "last":
            real = real & (real.flip(-1).cumsum(-1).flip(-1) == 1)
        return [real]


def reads_texts(model: nn.Module | None) -> bool:
    """Whether a network makes one vector of a text, so that its answers do not hang on how much padding there is.

    Args:
        model: the network, or None.
    """
    return isinstance(getattr(model, "vector", None), TextVector)


def _between(ids: Tensor, real: Tensor, numbers: tuple[int, ...]) -> Tensor:
    """The words between the first two of a sign; where there are none, as in a text cut before them, all words."""
    sign = torch.stack([ids == number for number in numbers]).any(0)
    inside = real & (sign.cumsum(-1) == 1) & ~sign
    return torch.where(inside.any(-1, keepdim=True), inside, real)


def _mean(places: Tensor, states: Tensor) -> Tensor:
    weights = places.to(states.dtype)
    return (weights.unsqueeze(-1) * states).sum(-2) / weights.sum(-1, keepdim=True).clamp(min=1)
