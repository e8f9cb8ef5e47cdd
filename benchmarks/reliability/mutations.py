"""Ways to spoil a file, each chosen by a seed."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable

INTERESTING = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)
TOKENS = (
    *(b"1e999", b"-1", b"NaN", b"Infinity", b"null", b"true", b"{}", b"[]", b'""', b"\0", b"\xff\xfe", b"\r", b'"'),
    *(b"1" * 5000, b"9" * 20, b"[" * 3000, b'{"a":' * 3000, b"\x1b[2J", b"../" * 8, "\u202e".encode(), b"\n\n", b","),
)


def mutate(content: bytes, draw: random.Random) -> bytes:
    """Spoil a file in one to four ways.

    Args:
        content: the file.
        draw: the only source of chance.

    Returns:
        The spoiled content.
    """
    for _ in range(draw.choice((1, 1, 1, 2, 4))):
        content = draw.choice(WAYS)(content, draw)
    return content


def _flip(content: bytes, draw: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(draw.choice((1, 1, 2, 8))):
        if changed:
            changed[draw.randrange(len(changed))] ^= 1 << draw.randrange(8)
    return bytes(changed)


def _cut(content: bytes, draw: random.Random) -> bytes:
    return content[: draw.randrange(len(content) + 1)]


def _remove(content: bytes, draw: random.Random) -> bytes:
    start = draw.randrange(len(content) + 1)
    return content[:start] + content[start + draw.choice((1, 2, 4, 16, 200)) :]


def _repeat(content: bytes, draw: random.Random) -> bytes:
    start = draw.randrange(len(content) + 1)
    block = content[start : start + draw.choice((1, 4, 30, 300))]
    return content[:start] + block * draw.choice((2, 3, 50)) + content[start:]


def _splice(content: bytes, draw: random.Random) -> bytes:
    """Two parts of the file in each other's place."""
    a, b = sorted(draw.randrange(len(content) + 1) for _ in range(2))
    return content[b:] + content[a:b] + content[:a] if draw.random() < 0.3 else content[:a] + content[b:]


def _number(content: bytes, draw: random.Random) -> bytes:
    """An extreme number where a length may stand."""
    if len(content) < 8:
        return content
    start, form = draw.randrange(len(content) - 7), draw.choice(("<H", ">H", "<I", ">I", "<Q", ">Q"))
    value = draw.choice(INTERESTING) % 2 ** (8 * struct.calcsize(form))
    return content[:start] + struct.pack(form, value) + content[start + struct.calcsize(form) :]


def _number_in_front(content: bytes, draw: random.Random) -> bytes:
    """The same near the beginning, where headers are."""
    return _number(content[:64], draw) + content[64:]


def _insert(content: bytes, draw: random.Random) -> bytes:
    start = draw.randrange(len(content) + 1)
    return content[:start] + draw.choice(TOKENS) + content[start + draw.choice((0, 0, 1, 5)) :]


def _digits(content: bytes, draw: random.Random) -> bytes:
    """Another number where the text has one."""
    places = [i for i, byte in enumerate(content) if 48 <= byte < 58]
    if not places:
        return content
    at = draw.choice(places)
    return (
        content[:at] + draw.choice((b"-1", b"1e12", b"1000000000000", b"nan", b"9" * 5000, b"0.5")) + content[at + 1 :]
    )


def _noise(content: bytes, draw: random.Random) -> bytes:
    return draw.randbytes(draw.choice((0, 1, 8, 64, 1000)))


WAYS: tuple[Callable[[bytes, random.Random], bytes], ...] = (
    *(_flip, _flip, _cut, _remove, _repeat, _splice, _number, _number, _number_in_front, _insert, _insert, _digits),
    _noise,
)
