"""Tables of labelled texts as people keep them: CSV, TSV or JSON lines, every mistake named by file and line."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from metaft.data.notes import counted, say
from metaft.data.split_names import meanings
from metaft.data.text import MARK, decoded
from metaft.data.texts import reading
from metaft.errors import MetaftError, nearest

KINDS = (".csv", ".tsv", ".jsonl")
SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
SPLIT = "split"
"""The column that says train, val or test, where there is one of that name."""
Cells = dict[str, object]
Lines = list[tuple[int, list[str]]]
"""The line on which a row begins, and its cells."""


@dataclass(frozen=True)
class Columns:
    """Where to find what in a table, and how it is written.

    Args:
        text: the column of the texts.
        label: the column of their classes.
        split: the column that says train, val or test; None for "split", where there is such a column.
        encoding: such as "latin-1"; None for UTF-8, or what a byte-order mark says.
    """

    text: str = "text"
    label: str = "label"
    split: str | None = None
    encoding: str | None = None


@dataclass(frozen=True)
class Row:
    """One labelled text.

    Args:
        text: not empty.
        label: its class.
        split: "train", "val" or "test"; empty where the table does not say.
    """

    text: str
    label: str
    split: str = ""


def read(path: Path, columns: Columns, labelled: bool = True) -> list[Row]:
    """Read a table of labelled texts.

    Args:
        path: a file ``.csv``, ``.tsv`` or ``.jsonl``, packed as ``.gz`` or not. Cells of a CSV file may be parted by
            commas, semicolons, tabs or bars, and hold line ends in quotation marks.
        columns: where to find what.
        labelled: whether there has to be a label; where not, one that is absent is empty.

    Returns:
        The rows, in the table's order.

    Raises:
        MetaftError: if the file is no such table, a column is absent, or a text or label is empty, naming the line.
    """
    ending = reading.kind(path)
    if ending not in KINDS:
        raise MetaftError(f"{path}: expected {', '.join(KINDS)}, one of these with .gz, or a folder of class folders")
    found = list((_json_cells if ending == ".jsonl" else _cells)(path, columns, labelled))
    if not found:
        raise MetaftError(f"{path} holds no texts")
    splits = _splits(path, found, columns.split)
    return [
        Row(_text(path, line, cells, columns.text), _label(path, line, cells, columns.label, labelled), split)
        for (line, cells), split in zip(found, splits, strict=True)
    ]


def _needed(columns: Columns, labelled: bool) -> tuple[tuple[str, str], ...]:
    return (("text", columns.text), ("label", columns.label))[: 1 + labelled]


def _json_cells(path: Path, columns: Columns, labelled: bool) -> Iterator[tuple[int, Cells]]:
    for line, cells in reading.json_lines(path, columns.encoding, OTHER_ENCODING):
        for option, name in _needed(columns, labelled):
            if name not in cells:
                raise MetaftError(f"{path}, line {line}: {_absent(option, name, cells)}")
        yield line, cells


OTHER_ENCODING = "give its encoding, texts:encoding={}"


def _cells(path: Path, columns: Columns, labelled: bool) -> Iterator[tuple[int, Cells]]:
    header, rows = table(path, columns.encoding, OTHER_ENCODING, [{columns.text, columns.label}])
    for option, name in _needed(columns, labelled):
        if name not in header:
            raise MetaftError(f"{path} has {_absent(option, name, header)}; its first line is to name the columns")
        if header.count(name) > 1:
            raise MetaftError(f"{path}: two columns are called {name!r}")
    for line, row in rows:
        yield line, dict(zip(header, row, strict=True))


def table(
    path: Path, encoding: str | None = None, otherwise: str = "", wanted: Sequence[Collection[str]] = ()
) -> tuple[list[str], Lines]:
    """A file ``.csv`` or ``.tsv``, packed as ``.gz`` or not.

    Args:
        path: of the file.
        encoding: as for `metaft.data.text.decoded`.
        otherwise: likewise.
        wanted: columns that stand together in such files; the sign that parts them is known by that.

    Returns:
        The names of the columns, and the rows.

    Raises:
        MetaftError: if it is no such file, naming the line.
    """
    text = decoded(reading.content(path), path, "a table of texts", encoding, otherwise)
    first = re.match(r'"?sep=(.)"?\r?\n', text)  # as Excel writes it
    if first:
        text = text[first.end() :]
    separator = first[1] if first else "\t" if reading.kind(path) == ".tsv" else _separator(text, wanted)
    header, rows = _parsed(path, text, separator)
    if not header:
        raise MetaftError(f"{path} is empty; expected a table whose first line names the columns")
    return header, [(line + 1, row) for line, row in rows] if first else rows


def _absent(option: str, name: str, known: Iterable[str]) -> str:
    names = sorted(filter(None, known))
    hint = nearest(name, names)
    there = f" Columns: {', '.join(names[:20])}" if "did you mean" in hint else ""
    return f"no column {name!r}{hint}{there} (texts:{option}=… names another)"


def _separator(text: str, wanted: Sequence[Collection[str]]) -> str:
    """What parts the columns of a CSV file: by which its first line names those asked for, or else most."""
    line = re.split(r"[\r\n]", text.lstrip(), maxsplit=1)[0]
    cells = {sign: [name.strip(' "') for name in line.split(sign)] for sign in SEPARATORS}
    fitting = [sign for sign, names in cells.items() if any(set(some) <= set(names) for some in wanted)]
    return fitting[0] if fitting else max(SEPARATORS, key=lambda sign: len(cells[sign]))


def _parsed(path: Path, text: str, separator: str) -> tuple[list[str], Lines]:
    """Header and rows. Marks in a file parted by tabs may be those of its texts: so if all rows then are complete."""
    if separator == "\t":
        try:
            header, rows = _rows(path, text, separator, csv.QUOTE_NONE)
            return header, [(line, [_unquoted(cell) for cell in row]) for line, row in rows]
        except MetaftError as plain:
            try:
                return _rows(path, text, separator, csv.QUOTE_MINIMAL)
            except MetaftError:
                raise plain from None
    return _rows(path, text, separator, csv.QUOTE_MINIMAL)


def _rows(path: Path, text: str, separator: str, quoting: Literal[0, 3]) -> tuple[list[str], Lines]:
    lines, spaced = io.StringIO(text, newline=""), quoting == csv.QUOTE_MINIMAL
    reader = csv.reader(lines, delimiter=separator, quoting=quoting, skipinitialspace=spaced, strict=True)
    header, rows, line = list[str](), Lines(), 1
    longest = csv.field_size_limit(reading.MAX_BYTES)  # a text may be a book; the library's limit is one of the process
    try:
        for row in reader:
            begin, line = line, reader.line_num + 1
            if not any(map(str.strip, row)):
                continue
            if not header:
                header = [name.strip(f'{MARK} \t\xa0"') for name in row]
            elif len(row) != len(header):
                sign = SEPARATORS.get(separator, repr(separator))
                raise MetaftError(
                    f"{path}, line {begin}: {counted(len(row), 'cell')}, and the first line names {len(header)} "
                    f"columns; a text with a {sign} in it wants quotation marks around it"
                )
            else:
                rows.append((begin, row))
    except csv.Error as error:
        raise MetaftError(f"{path}, line {line}: not a table ({error}); are its quotation marks doubled?") from None
    finally:
        csv.field_size_limit(longest)
    return header, rows


def _unquoted(cell: str) -> str:
    """A cell without quotation marks around it, if those within are doubled, as pandas writes them."""
    inner = cell[1:-1]
    quoted = len(cell) > 1 and cell[0] == cell[-1] == '"' and '"' not in inner.replace('""', "")
    return inner.replace('""', '"') if quoted else cell


def _text(path: Path, line: int, cells: Cells, column: str) -> str:
    text = cells[column]
    if not isinstance(text, str):
        raise MetaftError(f"{path}, line {line}: column {column!r} is {json.dumps(text)[:40]}, not a text")
    if not text.strip():
        raise MetaftError(f"{path}, line {line}: the text is empty (column {column!r}); remove the row")
    return text.strip()


def _label(path: Path, line: int, cells: Cells, column: str, needed: bool) -> str:
    label = cells[column] if needed else cells.get(column)
    if not needed and (label is None or not str(label).strip()):
        return ""
    if isinstance(label, bool):
        return str(label).lower()
    if not isinstance(label, str | int | float):
        raise MetaftError(f"{path}, line {line}: column {column!r} is {json.dumps(label)[:40]}, not one label")
    if not str(label).strip():
        raise MetaftError(f"{path}, line {line}: the label is empty (column {column!r})")
    return str(label).strip()


def _splits(path: Path, found: list[tuple[int, Cells]], column: str | None) -> list[str]:
    """The split of each row; empty ones where the table says nothing of them."""
    name = column or SPLIT
    if not all(name in cells for _, cells in found):
        if column is None:
            return [""] * len(found)
        line, cells = next((line, cells) for line, cells in found if name not in cells)
        raise MetaftError(f"{path}, line {line}: {_absent('split_column', name, cells)}")
    said = [str(cells[name]).strip() for _, cells in found]
    meant = meanings(dict.fromkeys(said))
    wrong = next((place for place, word in enumerate(said) if word not in meant), None)
    if wrong is None:
        return [meant[word] for word in said]
    if column is None:
        say(f"{path}: column {name!r} says {said[wrong][:20]!r}, not train, val or test, and is passed over")
        return [""] * len(found)
    line, word = found[wrong][0], said[wrong][:20]
    raise MetaftError(f"{path}, line {line}: column {name!r} is {word!r}; expected train, val or test")
