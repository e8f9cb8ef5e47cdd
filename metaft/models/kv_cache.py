"""Keys and values of a text that was read, so that others can go on from there without reading it again."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from metaft.data.texts.labelled_texts import PADDING


@dataclass(frozen=True)
class Part:
    """What every attention has seen in one pass.

    Args:
        held: attention → its keys and its values, ``[texts, key heads, places, size]`` each.
        hidden: ``bool [texts, places]``, true at padding.
    """

    held: Mapping[nn.Module, tuple[Tensor, Tensor]] = field(repr=False)
    hidden: Tensor

    def rows(self, rows: Tensor) -> Part:
        """Some of its texts; all of them where it has one, which every text goes on from."""
        if len(self.hidden) == 1:
            return self
        return Part({m: (key[rows], value[rows]) for m, (key, value) in self.held.items()}, self.hidden[rows])


@dataclass(frozen=True)
class KVCache:
    """What a causal model has read so far: pass by pass, as what all texts share is held once.

    Args:
        parts: one a pass, in order; of one text, or of as many as there are.
    """

    parts: tuple[Part, ...] = ()

    @property
    def lengths(self) -> Tensor:
        """Words of each text, ``int64 [texts]``; of one text if all share all of them."""
        return torch.stack(torch.broadcast_tensors(*((~part.hidden).sum(-1) for part in self.parts))).sum(0)

    def rows(self, rows: Tensor) -> KVCache:
        """Some of its texts, perhaps one several times.

        Args:
            rows: ``int64 [texts]``.
        """
        return KVCache(tuple(part.rows(rows) for part in self.parts))

    def joined(self) -> KVCache:
        """The same in one part, which is quicker to go on from word by word; what all share is copied to each text."""
        if len(self.parts) < 2:
            return self
        texts = max(len(part.hidden) for part in self.parts)
        together = lambda some, dim: torch.cat([x.expand(texts, *x.shape[1:]) for x in some], dim=dim)
        held = {
            module: (
                together([part.held[module][0] for part in self.parts], 2),
                together([part.held[module][1] for part in self.parts], 2),
            )
            for module in self.parts[0].held
        }
        return KVCache((Part(held, together([part.hidden for part in self.parts], 1)),))


@dataclass
class Pass:
    """One pass of texts through a network.

    Args:
        before: what they go on from.
        seen: attention → the keys and values of this pass.
        hidden: ``bool [texts, places]``, padding among all that was read in this pass.
    """

    before: KVCache
    seen: dict[nn.Module, tuple[Tensor, Tensor]] = field(default_factory=dict)
    hidden: Tensor | None = None

    def met(
        self, module: nn.Module, key: Tensor, value: Tensor, mask: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """An attention's keys and values behind those of the words before.

        Args:
            module: the attention.
            key: ``[texts, key heads, places, size]``.
            value: likewise.
            mask: added to the scores, ``[texts, 1, places, places]``.
        """
        self.seen[module] = key, value
        if not self.before.parts:
            return key, value, mask
        held = [part.held[module] for part in self.before.parts]
        joined = lambda which, own: torch.cat([*(pair[which].expand(len(own), -1, -1, -1) for pair in held), own], -2)
        if mask is not None:
            low, shape = torch.finfo(mask.dtype).min / 2, (len(key), 1, mask.shape[-2], -1)
            hidden = [part.hidden[:, None, None, :].to(mask.dtype) * low for part in self.before.parts]
            mask = torch.cat([x.expand(shape) for x in (*hidden, mask)], dim=-1)
        return joined(0, key), joined(1, value), mask

    def cache(self) -> KVCache:
        """What the next pass can go on from."""
        assert self.hidden is not None
        places = next(iter(self.seen.values()))[0].shape[-2]  # attention may stop at the last word of the longest text
        return KVCache((*self.before.parts, Part(self.seen, self.hidden[:, :places])))


_CURRENT: ContextVar[Pass | None] = ContextVar("pass", default=None)


def current() -> Pass | None:
    """The pass that is under way; None where nobody keeps keys and values."""
    return None if torch.compiler.is_dynamo_compiling() else _CURRENT.get()


def words_before() -> Tensor | int:
    """How many words of each text were read before this pass, ``int64 [texts, 1]``; one number where all are alike."""
    now = current()
    if now is None or not now.before.parts:
        return 0
    lengths = now.before.lengths
    return int(lengths[0]) if bool((lengths == lengths[0]).all()) else lengths[:, None]


def begins() -> bool:
    """Whether texts begin in this pass."""
    now = current()
    return now is None or not now.before.parts


def taken_in(reading: nn.Module, ids: Tensor) -> Tensor:
    """Words as a network takes them in: with an addition's, where the text begins.

    Args:
        reading: where it does so.
        ids: ``int64 [texts, places]``.

    Returns:
        ``int64 [texts, all places]``.
    """
    found: Tensor = reading(ids) if begins() else ids
    if (now := current()) is not None:
        now.hidden = found == PADDING
    return found


@contextlib.contextmanager
def _keeping(before: KVCache) -> Iterator[Pass]:
    made = Pass(before)
    token = _CURRENT.set(made)
    try:
        yield made
    finally:
        _CURRENT.reset(token)


@torch.no_grad()
def read_on(model: Any, ids: Tensor, before: KVCache | None = None) -> tuple[Tensor, KVCache]:
    """Read texts, or go on reading.

    Args:
        model: a causal network in evaluation mode with ``last_states(ids)``, whose attention is ours.
        ids: ``int64 [texts, places]``, 0 for padding, at the end.
        before: what was read before; None where the texts begin.

    Returns:
        The last states of these words, ``[texts, places, width]``, and what further words can go on from.
    """
    with _keeping(before or KVCache()) as now:
        states = model.last_states(ids)
    return states, now.cache()
