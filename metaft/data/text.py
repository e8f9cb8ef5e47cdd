"""Text files as people's programs write them: with byte-order marks, of any kind of line end."""

from __future__ import annotations

import codecs
import re

from metaft.errors import MetaftError

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
MARK = "\ufeff"


def decoded(content: bytes, where: object, expected: str, encoding: str | None = None, otherwise: str = "") -> str:
    """The text of a file: UTF-8, or what its byte-order mark says, or the encoding asked for.

    Args:
        content: of the file.
        where: the file, for the message.
        expected: what it should be, for the message ("one class a line").
        encoding: such as "latin-1"; None for UTF-8.
        otherwise: what can be done but save it as UTF-8, for the message; "{}" stands for the encoding it may be in.

    Returns:
        The text without the mark, line ends as they are.

    Raises:
        MetaftError: if it is no such text, or there is no such encoding.
    """
    if encoding is not None:
        _require_encoding(encoding)
    own = next((name for mark, name in _MARKS if content.startswith(mark)), encoding or "utf-8")
    try:
        text = content.decode(own)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        way = otherwise and f" or {otherwise.format(_likely(content))}"
        raise MetaftError(
            f"{where} is not a text file in {(encoding or 'utf-8').upper()} (byte {error.start}, in line {line}); "
            f"save it as UTF-8{way}; expected {expected}"
        ) from None
    if "\0" in text:
        raise MetaftError(
            f"{where} is not a text file in UTF-8 (it holds zero bytes, as UTF-16 does); save it as UTF-8; "
            f"expected {expected}"
        )
    return text.lstrip(MARK)


def lines(text: str) -> list[str]:
    """The lines of a text, without the space around them; a mark inside is left by joining files that had one each.

    Args:
        text: as :func:`decoded` gives it.

    Returns:
        All of them, empty ones too, so that their numbers are the file's.
    """
    return [line.strip(f"{MARK} \t\v\f\xa0") for line in re.split(r"\r\n|\r|\n", text)]


def _require_encoding(encoding: str) -> None:
    try:
        "a".encode(encoding)
    except (LookupError, ValueError):  # of codecs that are none of texts, too
        raise MetaftError(f"unknown encoding {encoding!r}; known: utf-8, latin-1, cp1252, utf-16, …") from None


def _likely(content: bytes) -> str:
    """Which of the two that Western programs write it may be: Windows has signs where ISO 8859-1 has controls."""
    return "cp1252" if re.search(rb"[\x80-\x9f]", content) else "latin-1"
