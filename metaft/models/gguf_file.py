"""Where the tensors of a GGUF file lie, and their bytes."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from metaft.errors import MetaftError

MAGIC = b"GGUF"
STRING, ARRAY = 8, 9
NUMBERS = dict(enumerate("BbHhIif?")) | {10: "Q", 11: "q", 12: "d"}
"""Type of a piece of metadata → its form in ``struct``."""


@dataclass(frozen=True)
class Stored:
    """Where a tensor lies in the file.

    Args:
        kind: its form, by GGUF's name.
        shape: ``[rows, columns]`` of numbers, or ``[numbers]``.
        start: its first byte.
        size: how many bytes it has.
    """

    kind: str
    shape: tuple[int, ...]
    start: int
    size: int


@dataclass(frozen=True)
class Contents:
    """What a GGUF file holds.

    Args:
        architecture: as GGUF calls it.
        tensors: by GGUF's names.
    """

    architecture: str
    tensors: dict[str, Stored]


def contents(file: Path) -> Contents:
    """Where the tensors of a GGUF file lie.

    The package ``gguf`` reads this too, and takes more memory for the words of a tokenizer than the weights have.

    Args:
        file: the GGUF file, version 2 or 3.

    Returns:
        Its tensors.

    Raises:
        MetaftError: if it is none.
    """
    from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType

    with file.open("rb") as stream:
        _require_gguf(stream, file)
        count, told = _number(stream, "Q"), _told(stream)
        listed = []
        for _ in range(count):
            name, axes = _text(stream), _number(stream, "I")
            shape = tuple(_number(stream, "Q") for _ in range(axes))[::-1]
            listed.append((name, shape, GGMLQuantizationType(_number(stream, "I")), _number(stream, "Q")))
        step = told.get("general.alignment") or 32
        first = -(-stream.tell() // step) * step
    tensors = {}
    for name, shape, kind, offset in listed:
        block, size = GGML_QUANT_SIZES[kind]
        tensors[name] = Stored(kind.name, shape, first + offset, math.prod(shape) // block * size)
    return Contents(str(told.get("general.architecture")), tensors)


def facts(file: Path) -> dict[str, Any]:
    """What a GGUF file says of itself, such as its chat template.

    Args:
        file: the GGUF file, version 2 or 3.

    Returns:
        Its metadata by GGUF's names; None for lists.

    Raises:
        MetaftError: if it is none, or damaged.
    """
    try:
        with file.open("rb") as stream:
            _require_gguf(stream, file)
            _number(stream, "Q")
            return _told(stream)
    except OSError as error:
        raise MetaftError(f"cannot read {file}: {error.strerror or error}") from None
    except (struct.error, KeyError, OverflowError, MemoryError):
        raise MetaftError(f"{file} is no complete GGUF file; fetch it again") from None


def _require_gguf(stream: BinaryIO, file: Path) -> None:
    if stream.read(4) != MAGIC or _number(stream, "I") not in (2, 3):
        raise MetaftError(f"{file} is no GGUF file of version 2 or 3")


def _told(stream: BinaryIO) -> dict[str, Any]:
    return {_text(stream): _value(stream, _number(stream, "I")) for _ in range(_number(stream, "Q"))}


def _number(stream: BinaryIO, form: str) -> Any:
    return struct.unpack(f"<{form}", stream.read(struct.calcsize(form)))[0]


def _text(stream: BinaryIO) -> str:
    return stream.read(_number(stream, "Q")).decode("utf-8", "replace")


def _value(stream: BinaryIO, kind: int) -> Any:
    """A piece of metadata; None for lists, which are passed over."""
    if kind == STRING:
        return _text(stream)
    if kind != ARRAY:
        return _number(stream, NUMBERS[kind])
    inside, length = _number(stream, "I"), _number(stream, "Q")
    if inside in (STRING, ARRAY):
        for _ in range(length):
            _value(stream, inside)
    else:
        stream.seek(length * struct.calcsize(NUMBERS[inside]), 1)
    return None


def stored_bytes(file: Path, stored: Stored) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """The bytes of a tensor, read into memory.

    Args:
        file: the GGUF file.
        stored: where it lies.

    Returns:
        ``uint8 [rows, bytes of a row]``, or ``[bytes]``.
    """
    found = np.fromfile(file, np.uint8, stored.size, offset=stored.start)
    return found.reshape(*stored.shape[:-1], -1)
