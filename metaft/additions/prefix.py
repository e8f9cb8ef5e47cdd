"""Prefixes: keys and values before those of the text, in every attention (Li & Liang 2021)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metaft.additions.addition import Addition, Params, Piece
from metaft.additions.places import transformer_blocks
from metaft.additions.real_words import asked_words, check_words, keys_and_values
from metaft.additions.virtual_words import INPUT
from metaft.errors import MetaftError
from metaft.models.anatomy import anatomy
from metaft.validate import require_count

LENGTH = 10
"""Places of a prefix; more gain little where the answer is a label (Li & Liang 2021, §7.2)."""


@dataclass(frozen=True)
class Prefix(Addition):
    """Every attention sees ``length`` keys and values of its own before those of the text, whatever the mask.

    Li & Liang 2021, "Prefix-tuning: optimizing continuous prompts for generation", §4. The text begins at place
    ``length``, as if the prefix were words read before it; rotary places turn the text's keys, not the prefix's.

    With ``reparametrise`` (§4.3) the prefix is what a small network makes, a tanh layer of that width that all
    attentions share and a layer for each: P = W tanh(V E + v) + w. Deviation: E is as wide as keys are.

    Args:
        length: how many places; those of the words it begins from, or 10, if None.
        epsilon: without words, numbers begin uniformly in (-epsilon, epsilon).
        text: words whose keys and values, in the network as it is, the prefix begins as (§7.4); its tokenizer reads
            them.
        words: those words by number instead.
        reparametrise: the width of the network that makes the prefix; None for a prefix that is learned itself.
        shift: whether the text begins at place ``length``; else at 0.

    Raises:
        MetaftError: if a number is below 1, epsilon not positive, or options do not go together.
    """

    length: int | None = None
    epsilon: float = 0.5
    text: str | None = None
    words: tuple[int, ...] | None = None
    reparametrise: int | None = None
    shift: bool = True
    name: ClassVar[str] = "prefix"
    silent: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_words(self.length, self.epsilon, self.text, self.words, self.name)
        if self.reparametrise is None:
            return
        require_count(self.reparametrise, "reparametrise of a prefix", 1)
        if self.text is not None or self.words is not None:
            raise MetaftError("prefix: what a network makes cannot begin as words; leave them or reparametrise out")

    def sites(self, model: nn.Module) -> Mapping[str, Piece]:
        """The attentions, and where words come in.

        Raises:
            MetaftError: if the network is no transformer, an attention is not ours, or there are no such words.
        """
        attentions = [block.attention for block in transformer_blocks(model, self.name)]
        words = asked_words(model, self.text, self.words, self.name)
        ids = anatomy(model).example if words is None else words
        seen = {} if ids is None else keys_and_values(model, attentions, ids)
        for name in attentions:
            if name not in seen:
                kind = type(model.get_submodule(name)).__name__
                raise MetaftError(
                    f"prefix: the attention {name!r} is {kind}, which shows no one its keys and values; use "
                    "transformer, stories260k or hf:…"
                )
        length = (self.length or LENGTH) if words is None else words.shape[-1]
        found: dict[str, Piece] = {INPUT: Shifted(length)} if self.shift else {}
        if self.shift and not isinstance(getattr(model, INPUT, None), nn.Module):
            raise MetaftError(
                f"prefix: this {type(model).__name__} takes words in at no layer {INPUT!r}, where their places could "
                "be shifted; take shift=no"
            )
        for name in attentions:
            key, value = seen[name]
            shape = length, key.shape[1], key.shape[3], self.epsilon
            if self.reparametrise is not None:
                found[name] = MadePrefix(*shape, width=self.reparametrise)
            else:
                found[name] = LearnedPrefix(*shape, None if words is None else (_rows(key[0]), _rows(value[0])))
        return found


@dataclass(frozen=True)
class Shifted(Piece):
    """Where words come in: they stand behind as many places that hold none.

    Args:
        shift: how many.
    """

    shift: int
    word_by_word: ClassVar[bool] = True


@dataclass(frozen=True)
class LearnedPrefix(Piece):
    """Beside an attention: keys and values that are parameters.

    Args:
        length: how many places.
        heads: of keys and values.
        size: of a head.
        epsilon: numbers begin uniformly between this and its negative.
        start: keys and values that they begin as, ``[length, heads · size]`` each; drawn if None.
    """

    length: int
    heads: int
    size: int
    epsilon: float
    start: tuple[Tensor, Tensor] | None = field(default=None, compare=False, repr=False)
    word_by_word: ClassVar[bool] = True  # it meets keys and values spread out again

    def create(self, layer: nn.Module, draw: torch.Generator) -> Params:
        """``key`` and ``value``, ``[length, heads · size]``."""
        if self.start is not None:
            return {"key": self.start[0].clone(), "value": self.start[1].clone()}
        drawn = lambda: _uniform(self.epsilon, draw, self.length, self.heads * self.size)
        return {"key": drawn(), "value": drawn()}

    def settled(self) -> Piece:
        """Without the keys and values that it began as."""
        return replace(self, start=None)

    def made(self, own: Params) -> tuple[Tensor, Tensor]:
        """Keys and values, ``[length, heads · size]`` each."""
        return own["key"], own["value"]

    def attended(
        self, own: Params, key: Tensor, value: Tensor, mask: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """The prefix, which no mask hides, then the text."""
        split = lambda x: x.unflatten(-1, (self.heads, self.size)).transpose(0, 1).expand(len(key), -1, -1, -1)
        own_key, own_value = (split(x) for x in self.made(own))
        mask = None if mask is None else F.pad(mask, (self.length, 0))
        return torch.cat([own_key, key], dim=-2), torch.cat([own_value, value], dim=-2), mask


@dataclass(frozen=True)
class MadePrefix(LearnedPrefix):
    """Beside an attention: keys and values that a small network makes, most of which all attentions share.

    Args:
        width: of its tanh layer.
        shared: E, V and v.
    """

    width: int = field(kw_only=True)
    shared: tuple[str, ...] = ("embedding", "hidden", "hidden_bias")

    def create(self, layer: nn.Module, draw: torch.Generator) -> Params:
        """E uniformly in (-epsilon, epsilon); the rest as torch draws Linear layers."""
        size = self.heads * self.size
        found = {"embedding": _uniform(self.epsilon, draw, self.length, size)}
        for name, inputs, outputs in (
            ("hidden", size, self.width),
            ("key", self.width, size),
            ("value", self.width, size),
        ):
            found[name] = _uniform(inputs**-0.5, draw, outputs, inputs)
            found[f"{name}_bias"] = _uniform(inputs**-0.5, draw, outputs)
        return found

    def made(self, own: Params) -> tuple[Tensor, Tensor]:
        """W tanh(V E + v) + w."""
        hidden = torch.tanh(F.linear(own["embedding"], own["hidden"], own["hidden_bias"]))
        key, value = (F.linear(hidden, own[name], own[f"{name}_bias"]) for name in ("key", "value"))
        return key, value


def _rows(x: Tensor) -> Tensor:
    """``[heads, places, size]`` as ``[places, heads · size]``."""
    return x.transpose(0, 1).flatten(1)


def _uniform(bound: float, draw: torch.Generator, *shape: int) -> Tensor:
    return torch.empty(shape).uniform_(-bound, bound, generator=draw)
