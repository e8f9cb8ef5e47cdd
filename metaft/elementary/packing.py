"""Texts without their padding: the words of all examples in one row, so that no layer multiplies what is no word.

Half of the numbers of a batch of short texts are padding. Layers that work on each word by itself (Linear, norms, what
is added to them) are given one row of real words; attention spreads it out again (see ``metaft.models.attention``).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

SPARED = 0.1
"""The least share of places that packing has to spare to be worth it."""


@dataclass(frozen=True)
class Packing:
    """Where the words of a batch stand in one row.

    Args:
        index: ``int64 [words]``, the place of each word among ``examples × places``; behind the last word of a task
            with fewer words than others, 0.
        inverse: ``int64 [examples, places]``, the word at each place; 0 for padding.
        longest: places up to the last word of the longest text.
        near: as ``index``, among ``examples × longest``.
    """

    index: Tensor
    inverse: Tensor
    longest: int
    near: Tensor

    def packed(self, x: Tensor) -> Tensor:
        """``[examples, places, ...]``, or of the longest places, → ``[1, words, ...]``."""
        index = self.index if x.shape[1] == self.inverse.shape[-1] else self.near
        return x.flatten(0, 1).index_select(0, index).unsqueeze(0)

    def spread(self, x: Tensor, places: int | None = None) -> Tensor:
        """``[1, words, ...]`` → ``[examples, places, ...]``; what stands at padding means nothing."""
        inverse = self.inverse if places is None else self.inverse[:, :places]
        return x.squeeze(0).index_select(0, inverse.flatten()).unflatten(0, inverse.shape)

    def places(self) -> Tensor:
        """The place of each word in its text, ``int64 [1, words]``."""
        return (self.index % self.inverse.shape[-1]).unsqueeze(0)


_CURRENT: ContextVar[Packing | None] = ContextVar("packing", default=None)


def current() -> Packing | None:
    """How the words are packed that pass through a network just now; None if they are not."""
    return None if torch.compiler.is_dynamo_compiling() else _CURRENT.get()


def through(packing: Packing | None) -> contextlib.AbstractContextManager[None]:
    """While this lasts, what passes through a network is packed so; None leaves all as it is."""
    return contextlib.nullcontext() if packing is None else _through(packing)


@contextlib.contextmanager
def _through(packing: Packing) -> Iterator[None]:
    before = _CURRENT.set(packing)
    try:
        yield
    finally:
        _CURRENT.reset(before)


_OFF: ContextVar[bool] = ContextVar("padded", default=False)


@contextlib.contextmanager
def padded() -> Iterator[None]:
    """While this lasts, nothing is packed."""
    before = _OFF.set(True)
    try:
        yield
    finally:
        _OFF.reset(before)


def packing(ids: Tensor, padding: int = 0) -> Packing | None:
    """How to pack texts.

    Args:
        ids: ``int64 [examples, places]``.
        padding: the number that is no word.

    Returns:
        The packing; None where it would spare little, or not be known before the numbers are: in compiled code, and on
        devices that would have to be waited for.
    """
    if torch.compiler.is_dynamo_compiling() or ids.device.type != "cpu" or ids.dim() != 2 or not ids.numel():
        return None
    if _OFF.get():
        return None
    index, places = _Words.apply(ids, padding)
    if index.shape[-1] > (1 - SPARED) * ids.numel():
        return None
    real = (ids != padding).flatten()
    rank = (real.long().cumsum(0) - 1).where(real, 0)
    every, longest = ids.shape[-1], places.shape[0]
    return Packing(index, rank.unflatten(0, ids.shape), longest, index // every * longest + index % every)


class _Words(torch.autograd.Function):
    """The places of words, as many as the task with the most has; tasks together are seen at once."""

    @staticmethod
    def forward(ids: Tensor, padding: int) -> tuple[Tensor, Tensor]:
        """``int64 [..., examples, places]`` → ``int64 [..., words]``, and ``[longest, 0]``: its size is what counts."""
        used = (ids != padding).flatten(0, -2).any(0).nonzero()
        longest = int(used[-1]) + 1 if len(used) else 1
        real = (ids != padding).flatten(-2)
        count = int(real.sum(-1).max())
        found = torch.argsort(~real, dim=-1, stable=True)[..., : max(count, 1)]
        return found.where(real.gather(-1, found), 0), ids.new_empty(longest, 0)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        """Nothing to keep."""
        ctx.mark_non_differentiable(*output)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[None, None]:
        """Whole numbers have no gradient."""
        return None, None

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], ids: Tensor, padding: int) -> tuple[Any, Any]:
        """All tasks, to one length."""
        assert in_dims[0] is not None
        return _Words.apply(ids.movedim(in_dims[0], 0), padding), (0, None)
