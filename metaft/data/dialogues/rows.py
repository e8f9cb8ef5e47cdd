"""Rows of a user's file as they lie on the disk: JSON, JSON lines, CSV or TSV, each with its line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from metaft.data.text import decoded
from metaft.data.texts import reading, text_table
from metaft.errors import MetaftError, first_line

KINDS = (".json", ".jsonl", ".csv", ".tsv")
"""Endings of files that are read, packed as ``.gz`` or not."""
Row = dict[str, object]
WANTED = (("instruction", "output"), ("prompt", "chosen"), ("chosen", "rejected"), ("prompt", "answer"))
"""Columns that tables of dialogues usually have together."""


def read(path: Path) -> Iterator[tuple[int, Row]]:
    """The rows of a file.

    Args:
        path: a file of `KINDS`.

    Yields:
        The line on which a row begins, from 1, and its fields.

    Raises:
        MetaftError: if it is no such file, cannot be read, or a row is no object, naming the line.
    """
    ending = reading.kind(path)
    if ending == ".json":
        yield from _array(path)
    elif ending == ".jsonl":
        yield from reading.json_lines(path)
    elif ending in (".csv", ".tsv"):
        header, rows = text_table.table(path, wanted=WANTED)
        if twice := next((name for name in header if name and header.count(name) > 1), None):
            raise MetaftError(f"{path}: two columns are called {twice!r}")
        for line, row in rows:
            yield line, dict(zip(header, row, strict=True))
    else:
        raise MetaftError(f"{path}: expected a file {', '.join(KINDS)}, or one of these with .gz")


def _array(path: Path) -> Iterator[tuple[int, Row]]:
    """The objects of a list, one after the other, so that a mistake has a line."""
    text = decoded(reading.content(path), path, "a JSON list of objects")
    at, line = _space(text, 0), 1
    if text[at : at + 1] != "[":
        instead = "; one object a line is called .jsonl" if text[at : at + 1] == "{" else ""
        raise MetaftError(f"{path} is not a JSON list of objects{instead}")
    decoder, counted = json.JSONDecoder(), 0
    at = _space(text, at + 1)
    more = text[at : at + 1] != "]"
    while more:
        line, counted = line + text.count("\n", counted, at), at
        try:
            row, at = decoder.raw_decode(text, at)
        except (ValueError, RecursionError) as error:
            broken = error.lineno if isinstance(error, json.JSONDecodeError) else line
            why = error.msg if isinstance(error, json.JSONDecodeError) else first_line(error)
            raise MetaftError(f"{path}, line {broken}: not JSON ({why}); expected a list of objects") from None
        if not isinstance(row, dict):
            raise MetaftError(f'{path}, line {line}: {type(row).__name__}, not a JSON object such as {{"prompt": …}}')
        yield line, row
        at = _space(text, at)
        more = text[at : at + 1] == ","
        if not more and text[at : at + 1] != "]":
            broken = text.count("\n", 0, at) + 1
            raise MetaftError(f"{path}, line {broken}: not JSON (the list does not end); expected a list of objects")
        at = _space(text, at + 1)
    rest = text[at:] if counted else text[at + 1 :]
    if rest.strip():
        broken = text.count("\n", 0, at) + 1
        raise MetaftError(f"{path}, line {broken}: something stands behind the list of objects; remove it")


def _space(text: str, at: int) -> int:
    """The first place from one on that is no white space."""
    while text[at : at + 1] and text[at] in " \t\r\n":
        at += 1
    return at
