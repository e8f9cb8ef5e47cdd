"""How a matrix lies in memory at 4 or 8 bits a number: blocks of a row, each with a scale of its own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from metaft.errors import MetaftError, nearest

NORMAL_QUANTILES = (
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
    -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
    0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
)  # fmt: skip
"""The sixteen numbers of NF4 (Dettmers et al. 2023, appendix E)."""

ROWS = 1024
"""So many are packed at a time, which takes several times their memory."""


class NumberForm(ABC):
    """A form of a block of numbers.

    Attributes:
        name: what it is called.
        block: how many numbers share a scale.
        size: how many bytes they take.
    """

    name: ClassVar[str]
    block: ClassVar[int]
    size: ClassVar[int]

    def unpack(self, packed: Tensor, columns: int) -> Tensor:
        """Rows as numbers.

        Args:
            packed: ``uint8 [..., bytes of a row]``.
            columns: how many numbers a row has.

        Returns:
            ``float32 [..., columns]``.
        """
        return self.numbers(packed.unflatten(-1, (-1, self.size))).flatten(-2)[..., :columns]

    def pack(self, rows: Tensor) -> Tensor:
        """Numbers as rows of bytes; the last block of a row is filled up by zeros.

        Args:
            rows: ``[rows, columns]``.

        Returns:
            ``uint8 [rows, bytes of a row]``.
        """
        filled = (0, -rows.shape[-1] % self.block)
        pieces = (F.pad(part, filled).float() for part in rows.detach().split(ROWS))
        return torch.cat([self.bytes(piece.unflatten(-1, (-1, self.block))).flatten(-2) for piece in pieces])

    @abstractmethod
    def numbers(self, blocks: Tensor) -> Tensor:
        """``uint8 [..., size]`` → ``float32 [..., block]``."""

    def bytes(self, blocks: Tensor) -> Tensor:
        """``float32 [..., block]`` → ``uint8 [..., size]``."""
        raise MetaftError(f"{self.name} is only read; quantise to {' or '.join(OURS)}")


class NF4(NumberForm):
    """4 bits, an index into the quantiles of a normal distribution, times the block's largest absolute value.

    Dettmers et al. 2023, "QLoRA: efficient finetuning of quantized LLMs", §3. A block is part of a row, so that rows
    can be read one by one; where rows are no multiple of 64 theirs go on in the next one. The scales are float32: they
    are not quantised in their turn.
    """

    name, block, size = "nf4", 64, 36

    def numbers(self, blocks: Tensor) -> Tensor:
        """A byte at a time: its pair of numbers is a row of a table."""
        table = torch.tensor(NORMAL_QUANTILES, device=blocks.device)
        pairs = torch.cartesian_prod(table, table)
        codes = blocks[..., 4:]
        found = pairs.index_select(0, codes.int().flatten()).view(*codes.shape[:-1], self.block)
        return found * _scale(blocks[..., :4], torch.float32)

    def bytes(self, blocks: Tensor) -> Tensor:
        """The nearest of the sixteen."""
        largest = blocks.abs().amax(-1, keepdim=True)
        table = torch.tensor(NORMAL_QUANTILES, device=blocks.device)
        nearest_one = torch.bucketize(blocks / largest.where(largest > 0, 1.0), (table[1:] + table[:-1]) / 2)
        high, low = nearest_one.to(torch.uint8).unflatten(-1, (-1, 2)).unbind(-1)
        return torch.cat([largest.view(torch.uint8), high << 4 | low], -1)


class Q4_0(NumberForm):
    """4 bits less 8, times a scale in half precision (GGUF)."""

    name, block, size = "q4_0", 32, 18

    def numbers(self, blocks: Tensor) -> Tensor:
        """(q − 8) d."""
        return (_halves(blocks[..., 2:]).float() - 8) * _scale(blocks[..., :2])


class Q4_1(NumberForm):
    """4 bits times a scale, and a least number, both in half precision (GGUF)."""

    name, block, size = "q4_1", 32, 20

    def numbers(self, blocks: Tensor) -> Tensor:
        """Q d + m."""
        return _halves(blocks[..., 4:]).float() * _scale(blocks[..., :2]) + _scale(blocks[..., 2:4])


class Q8_0(NumberForm):
    """8 bits with a sign, times a scale in half precision (GGUF)."""

    name, block, size = "q8_0", 32, 34

    def numbers(self, blocks: Tensor) -> Tensor:
        """Q d."""
        return blocks[..., 2:].view(torch.int8).float() * _scale(blocks[..., :2])

    def bytes(self, blocks: Tensor) -> Tensor:
        """The nearest of 255."""
        scale = blocks.abs().amax(-1, keepdim=True) / 127
        codes = (blocks / scale.where(scale > 0, 1.0)).round().to(torch.int8)
        return torch.cat([scale.half().view(torch.uint8), codes.view(torch.uint8)], -1)


FORMS: dict[str, NumberForm] = {form_of.name: form_of for form_of in (NF4(), Q4_0(), Q4_1(), Q8_0())}
OURS = ("nf4", "q8_0")
"""Those that numbers can be brought into here."""


def form_of(name: str) -> NumberForm:
    """A form by name.

    Args:
        name: "nf4", or "q8_0" for 8 bits; "q4_0" and "q4_1" are read only.

    Raises:
        MetaftError: if it is unknown.
    """
    if name not in FORMS:
        raise MetaftError(f"unknown form {name!r} of quantised weights{nearest(name, FORMS)}")
    return FORMS[name]


def _scale(two_or_four: Tensor, kind: torch.dtype = torch.float16) -> Tensor:
    return two_or_four.contiguous().view(kind).float()


def _halves(codes: Tensor) -> Tensor:
    """The lower halves of all bytes, then the upper ones."""
    whole = codes.contiguous()  # several times as fast
    return torch.cat([whole & 15, whole >> 4], -1)
