"""Tables of numbers from CSV files, every value checked."""

from __future__ import annotations

import csv
import hashlib
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from metaft.errors import MetaftError, nearest

MAX_BYTES = 2**31


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


def read_table(path: str | Path, texts: Sequence[str], numbers: Sequence[str] | None) -> Table:
    """Read a CSV file with a header line.

    Args:
        path: the file; UTF-8, separated by commas.
        texts: columns to take as text.
        numbers: columns to take as numbers; all others if None.

    Returns:
        The table.

    Raises:
        MetaftError: if the file is not such a table, a column is absent, or a value is missing or not a number, naming
            line and column.
    """
    content = _content(Path(path))
    reader = csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""), strict=True)
    try:
        header = [name.strip() for name in next(reader, [])]
        columns = _columns(path, header, texts, numbers)
        taken = [header.index(name) for name in columns]
        named = {name: header.index(name) for name in texts}
        values, lines, words = [], [], {name: list[str]() for name in texts}
        for row in reader:
            if not row:
                continue  # an empty line
            if len(row) != len(header):
                raise MetaftError(
                    f"{path}, line {reader.line_num}: {len(row)} values, the header names {len(header)} columns"
                )
            values.append([_number(path, reader.line_num, header[i], row[i]) for i in taken])
            lines.append(reader.line_num)
            for name, i in named.items():
                words[name].append(_word(path, reader.line_num, name, row[i]))
    except csv.Error as error:
        raise MetaftError(f"{path}, line {reader.line_num}: not a CSV table ({error})") from None
    if not values:
        raise MetaftError(f"{path} has no rows below its header")
    digest = hashlib.sha256(content).hexdigest()[:16]
    return Table(np.array(values), words, np.array(lines), columns, digest)


def _content(path: Path) -> bytes:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise MetaftError(f"{path} is larger than {MAX_BYTES >> 30} GiB; take a part of it")
        content = path.read_bytes()
        content.decode("utf-8-sig")
    except OSError as error:
        raise MetaftError(f"cannot read the table {path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise MetaftError(f"{path} is not a text file in UTF-8 (byte {error.start}); expected a CSV table") from None
    return content


def _columns(
    path: str | Path, header: list[str], texts: Sequence[str], numbers: Sequence[str] | None
) -> tuple[str, ...]:
    if not header:
        raise MetaftError(f"{path} is empty; expected a CSV table whose first line names the columns")
    twice = next((name for name in header if header.count(name) > 1), None)
    if twice is not None:
        raise MetaftError(f"{path}: two columns are called {twice!r}; expected a first line that names each once")
    for name in (*texts, *(numbers or ())):
        if name not in header:
            raise MetaftError(f"{path} has no column {name!r}{nearest(name, header)}")
    return tuple(numbers if numbers is not None else (name for name in header if name not in texts))


def _number(path: str | Path, line: int, column: str, text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        what = "is empty" if not text.strip() else f"is {text[:40]!r}, not a number"
        raise MetaftError(
            f"{path}, line {line}: column {column!r} {what}; mend it, or name the columns to use as features"
        ) from None
    if not math.isfinite(number):
        raise MetaftError(f"{path}, line {line}: column {column!r} is {text.strip()}; expected a finite number")
    return number


def _word(path: str | Path, line: int, column: str, text: str) -> str:
    if not text.strip():
        raise MetaftError(f"{path}, line {line}: column {column!r} is empty")
    return text.strip()
