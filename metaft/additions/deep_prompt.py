"""Deep prompts: virtual words before the text whose states are written anew in every block (Liu et al. 2022)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import takewhile
from typing import ClassVar

import torch
from torch import Tensor, nn

from metaft.additions.addition import Addition, Params, Piece
from metaft.additions.places import Block, transformer_blocks
from metaft.additions.real_words import asked_words, check_words, inputs
from metaft.additions.virtual_words import UnknownWords, add_words
from metaft.errors import MetaftError
from metaft.models.anatomy import anatomy

LENGTH = 10
"""Words of a prompt; see `metaft.additions.prefix.LENGTH`."""


@dataclass(frozen=True)
class DeepPrompt(Addition):
    """``length`` virtual words stand before every text, and each block is given vectors of its own in their places.

    Liu et al. 2022, "P-tuning v2", §3.2, and Jia et al. 2022, "Visual prompt tuning" (VPT-Deep), eq. 6: what a block
    makes of these places is dropped, so that a vector acts through the attention of its own block alone, and from there
    through the states of the text. The words have places like others, and count neither in the text's vector nor in the
    scores of `words`. Deviation: P-tuning v2's code learns keys and values, which is `Prefix`.

    Args:
        length: how many words; those it begins from, or 10, if None.
        epsilon: without words, numbers begin uniformly in (-epsilon, epsilon).
        text: words whose states, in the network as it is, the vectors begin as; its tokenizer reads them.
        words: those words by number instead.

    Raises:
        MetaftError: if a number is below 1, epsilon not positive, or options do not go together.
    """

    length: int | None = None
    epsilon: float = 0.5
    text: str | None = None
    words: tuple[int, ...] | None = None
    name: ClassVar[str] = "deep-prompt"
    silent: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_words(self.length, self.epsilon, self.text, self.words, self.name)

    def sites(self, model: nn.Module) -> Mapping[str, Piece]:
        """Where words come in, their vectors, and the blocks.

        Raises:
            MetaftError: if the network takes no words in, is no transformer, has blocks that are no layers of their
                own, or there are no such words.
        """
        words = asked_words(model, self.text, self.words, self.name)
        length = (self.length or LENGTH) if words is None else words.shape[-1]
        found = add_words(model, length, 0, UnknownWords, self.name, foremost=True)
        blocks = [_whole(block) for block in transformer_blocks(model, self.name)]
        ids = anatomy(model).example if words is None else words
        given = {} if ids is None else inputs(model, blocks, ids)
        for name in blocks:
            if ids is None or given.get(name, ids).shape[:-1] != ids.shape:
                raise MetaftError(
                    f"deep-prompt writes into what each block is given, and {name!r} of this {type(model).__name__} is "
                    "no layer that is given states, [examples, places, width]"
                )
            start = None if words is None else given[name][0]
            found[name] = Overwritten(length, given[name].shape[-1], self.epsilon, start)
        return found


@dataclass(frozen=True)
class Overwritten(Piece):
    """At a block: vectors in the first places.

    Args:
        length: how many places.
        width: of a state.
        epsilon: numbers begin uniformly between this and its negative.
        start: what the vectors begin as; drawn if None.
    """

    length: int
    width: int
    epsilon: float
    start: Tensor | None = field(default=None, compare=False, repr=False)

    def create(self, layer: nn.Module, draw: torch.Generator) -> Params:
        """``vectors [length, width]``."""
        if self.start is not None:
            return {"vectors": self.start.clone()}
        drawn = torch.empty(self.length, self.width).uniform_(-self.epsilon, self.epsilon, generator=draw)
        return {"vectors": drawn}

    def settled(self) -> Piece:
        """Without the vectors that it began as."""
        return replace(self, start=None)

    def before(self, own: Params, x: Tensor) -> Tensor:
        """``[examples, places, width]`` → likewise; all places see each other in the block behind this."""
        vectors = own["vectors"].expand(*x.shape[:-2], self.length, self.width)
        return torch.cat([vectors, x[..., self.length :, :]], dim=-2)


def _whole(block: Block) -> str:
    """The module that an attention and its feed-forward stand in."""
    both = zip(block.attention.split("."), (block.down or block.output).split("."), strict=False)
    return ".".join(one for one, _ in takewhile(lambda parts: parts[0] == parts[1], both))
