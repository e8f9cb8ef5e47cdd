"""Tables of numbers from CSV files, every value checked."""

from __future__ import annotations

import csv
import hashlib
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from metaft.data import row_numbers
from metaft.data.notes import say
from metaft.data.text import MARK, decoded
from metaft.errors import MetaftError, nearest

MAX_BYTES = 2**31
LARGEST = float(np.finfo(np.float32).max)
"""What tasks are made of is float32."""
# Narrower than Python's float(), which takes 2020_01 for 202001 and digits of other scripts.
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_NOT_FINITE = ("nan", "inf", "infinity")
_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars"}


@dataclass(frozen=True)
class Table:
    """The columns asked for.

    Args:
        values: float64 ``[rows, columns]``, finite.
        texts: column → its values as written, of the columns asked for as text.
        lines: int64 ``[rows]``, the line of the file each row ends on.
        columns: names of the columns in ``values``.
        digest: 16 hexadecimal digits that tell the file's content.
    """

    values: NDArray[np.float64]
    texts: dict[str, list[str]]
    lines: NDArray[np.int64]
    columns: tuple[str, ...]
    digest: str


def read_table(
    path: str | Path, texts: Sequence[str], numbers: Sequence[str] | None, targets: Sequence[str] = ()
) -> Table:
    """Read a CSV file with a header line.

    Columns that number the rows, as pandas, R and polars write them, are left out aloud where no columns are named.
    Empty lines, and remarks that begin with ``#``, are passed over.

    Args:
        path: the file; separated by commas; UTF-8, or what its byte-order mark says.
        texts: columns to take as text.
        numbers: columns to take as numbers; if None, ``targets`` and all others.
        targets: columns that are not left out, whatever they look like.

    Returns:
        The table.

    Raises:
        MetaftError: if the file is not such a table, a column is absent, or a value is missing or not a number, naming
            line and column.
    """
    content = _content(Path(path))
    header, rows, lines = _parsed(path, decoded(content, path, "a CSV table"))
    for name in (*texts, *targets, *(numbers or ())):
        if name not in header:
            raise MetaftError(f"{path} has no column {name!r}{nearest(name, filter(None, header))}")
    if not rows:
        raise MetaftError(f"{path} has no rows below its header")
    if numbers is None:
        named = {header.index(name) for name in (*texts, *targets)}
        left_out, to_say = row_numbers.left_out(path, header, rows, named)
        taken = [i for i, name in enumerate(header) if name not in texts and i not in left_out]
    else:
        taken, to_say = [header.index(name) for name in numbers], []
    words = {name: header.index(name) for name in texts}
    values, said = list[list[float]](), {name: list[str]() for name in texts}
    for line, row in zip(lines, rows, strict=True):
        values.append([_number(path, line, header[i], row[i]) for i in taken])
        for name, i in words.items():
            said[name].append(_word(path, line, name, row[i]))
    for note in to_say:
        say(note)
    digest = hashlib.sha256(content).hexdigest()[:16]
    return Table(np.array(values), said, np.array(lines), tuple(header[i] for i in taken), digest)


def columns_of(path: str | Path) -> list[str]:
    """The names of a CSV file's columns.

    Args:
        path: the file, as for `read_table`.

    Raises:
        MetaftError: if the file is no such table.
    """
    return _parsed(path, decoded(_content(Path(path)), path, "a CSV table"))[0]


def _content(path: Path) -> bytes:
    path = path.expanduser()
    try:
        if path.stat().st_size > MAX_BYTES:
            raise MetaftError(f"{path} is larger than {MAX_BYTES >> 30} GiB; take a part of it")
        return path.read_bytes()
    except OSError as error:
        raise MetaftError(f"cannot read the table {path}: {error.strerror}") from None


def _parsed(path: str | Path, text: str) -> tuple[list[str], list[list[str]], list[int]]:
    """The header, the rows and the line each of them ends on."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True, skipinitialspace=True)
    header, rows, lines = list[str](), list[list[str]](), list[int]()
    try:
        for row in reader:
            if not any(map(str.strip, row)):
                continue
            if _is_remark(row) and len(row) != len(header):
                continue
            if not header:
                header = _header(path, row)
                continue
            if len(row) != len(header):
                # Which of the two it is cannot be told, and taking one for the other would move all columns.
                hint = "; R writes names of rows so (row.names = FALSE leaves them out), and so look commas in decimals"
                raise MetaftError(
                    f"{path}, line {reader.line_num}: {len(row)} values, the header names {len(header)} columns"
                    f"{hint if len(row) == len(header) + 1 else ''}"
                )
            if _is_remark(row):
                raise MetaftError(
                    f"{path}, line {reader.line_num}: begins with '#' and is as long as a row; remove one or the other"
                )
            rows.append(row)
            lines.append(reader.line_num)
    except csv.Error as error:
        raise MetaftError(f"{path}, line {reader.line_num}: not a CSV table ({error})") from None
    if not header:
        raise MetaftError(f"{path} is empty; expected a CSV table whose first line names the columns")
    return header, rows, lines


def _is_remark(row: list[str]) -> bool:
    """Whether a line looks like a remark, or is Excel's "sep=,"; "#id,x" may be a header, and "#1,2.5" a row."""
    return re.match(r"#+\s", row[0].strip()) is not None or (row[0][:1] == "#" and len(row) == 1) or row == ["sep=", ""]


def _header(path: str | Path, row: list[str]) -> list[str]:
    header = [name.strip(f"{MARK} \t\xa0") for name in row]
    if len(header) == 1:
        separator = next((sign for sign in _SEPARATORS if sign in row[0]), None)
        if separator is not None:
            raise MetaftError(
                f"{path}: its columns are separated by {_SEPARATORS[separator]}; expected commas between columns and "
                "points in decimals; save it so"
            )
    twice = next((name for name in header if name and header.count(name) > 1), None)
    if twice is not None:
        raise MetaftError(f"{path}: two columns are called {twice!r}; expected a first line that names each once")
    return header


def _number(path: str | Path, line: int, column: str, text: str) -> float:
    plain = text.strip(" \t")
    if _NUMBER.fullmatch(plain):
        number = float(plain)
        if abs(number) <= LARGEST:
            return number
        what = f"is {plain[:40]}; expected a finite number, of at most {LARGEST:.3g}"
    elif plain.lower().lstrip("+-") in _NOT_FINITE:
        what = f"is {plain}; expected a finite number"
    else:
        what = "is empty" if not plain else f"is {plain[:40]!r}, not a number such as -1234.5 or 1e5"
        what += "; mend it, or name the columns to use as features"
    raise MetaftError(f"{path}, line {line}: column {column!r} {what}")


def _word(path: str | Path, line: int, column: str, text: str) -> str:
    if not text.strip():
        raise MetaftError(f"{path}, line {line}: column {column!r} is empty")
    return text.strip()
