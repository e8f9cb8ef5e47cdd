"""Files of texts as they lie on the disk: found, unpacked, decoded, and every mistake named by file and line."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from metaft.data import locate
from metaft.data.text import decoded, lines
from metaft.errors import MetaftError, first_line, nearest

MAX_BYTES = 2**31
_PIECE = 1 << 20


def place(dataset: str, files: Sequence[str], root: str | Path | None) -> Path | None:
    """The first of the data roots that holds some files.

    Args:
        dataset: whose they are.
        files: their paths below a data root.
        root: where files are looked for first.

    Returns:
        That root; None if there is none.
    """
    return locate.find(dataset, root, lambda base: base if all((base / file).is_file() for file in files) else None)


def require_place(dataset: str, files: Sequence[str], root: str | Path | None) -> Path:
    """As `place`.

    Raises:
        MetaftError: if no data root holds the files, naming the first that is missing.
    """
    found = place(dataset, files, root)
    if found is None:
        looked = [base for base in locate.roots(root)]
        missing = next(file for file in files if not (looked[0] / file).is_file())
        raise MetaftError(
            f"{dataset} was not found under {', '.join(map(str, looked))}: no file {missing}; say where it lies with "
            "--data-root or METAFT_DATA"
        )
    return found


def content(path: Path) -> bytes:
    """The bytes of a file, unpacked where its name ends in ``.gz``.

    Args:
        path: of the file.

    Returns:
        All of them.

    Raises:
        MetaftError: if it cannot be read, is damaged, or larger than 2 GiB.
    """
    pieces, total = [], 0
    try:
        with gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb") as file:
            while piece := file.read(_PIECE):
                pieces.append(piece)
                total += len(piece)
                if total > MAX_BYTES:
                    raise MetaftError(f"{path} holds more than {MAX_BYTES >> 30} GiB; take a part of it")
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise MetaftError(f"{path} is not a complete gzip file ({first_line(error)}); fetch it again") from None
    except OSError as error:
        raise MetaftError(f"cannot read {path}: {error.strerror or error}") from None
    return b"".join(pieces)


def kind(path: Path) -> str:
    """The ending of a file's name in lower case, that of what is packed: ``.jsonl`` for ``a.jsonl.gz``."""
    return Path(path.name.lower().removesuffix(".gz")).suffix


def stem(path: Path) -> str:
    """The name of a file without its endings ``.gz`` and the one before it."""
    return Path(path.name[: -len(".gz")] if path.name.lower().endswith(".gz") else path.name).stem


def json_lines(path: Path, encoding: str | None = None) -> Iterator[tuple[int, dict[str, object]]]:
    """The objects of a file of JSON lines; empty lines are passed over.

    Args:
        path: of the file, packed or not.
        encoding: as for `metaft.data.text.decoded`.

    Yields:
        The number of a line, from 1, and its object.

    Raises:
        MetaftError: if the file cannot be read, or a line is no JSON object.
    """
    for number, line in enumerate(lines(decoded(content(path), path, "a JSON object a line", encoding)), start=1):
        if not line:
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise MetaftError(
                f"{path}, line {number}: not JSON ({first_line(error)}); expected one object a line"
            ) from None
        if not isinstance(row, dict):
            raise MetaftError(f"{path}, line {number}: {type(row).__name__}, not a JSON object such as {{\"text\": …}}")
        yield number, row


def text_in(row: dict[str, object], column: str, path: Path, number: int) -> str:
    """A text out of a JSON object.

    Args:
        row: the object.
        column: under which name.
        path: of the file, for messages.
        number: of the line, likewise.

    Returns:
        The text, without the space around it.

    Raises:
        MetaftError: if there is none, it is no text, or empty.
    """
    if column not in row:
        raise MetaftError(f"{path}, line {number}: no {column!r}{nearest(column, map(str, row))}")
    text = row[column]
    if not isinstance(text, str):
        raise MetaftError(f"{path}, line {number}: {column!r} is {json.dumps(text)[:40]}, not a text")
    if not text.strip():
        raise MetaftError(f"{path}, line {number}: {column!r} is empty; remove the line")
    return text.strip()
