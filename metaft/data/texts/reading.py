"""Files of texts as they lie on the disk: found, unpacked, decoded, and every mistake named by file and line."""

from __future__ import annotations

import gzip
import json
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from metaft.data import locate
from metaft.data.text import decoded, lines
from metaft.data.texts.table import TEXTS
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
        looked = locate.roots(root)
        missing = next(file for file in files if not (looked[0] / file).is_file())
        raise MetaftError(
            f"{dataset} was not found under {', '.join(map(str, looked))}: no file {missing}; say where it lies with "
            "--data-root or METAFT_DATA"
        )
    return found


def place_of(dataset: str, root: str | Path | None) -> Path:
    """The data root under which a data set of the table lies.

    Args:
        dataset: its name; its row says which files.
        root: where files are looked for first.

    Returns:
        That root.

    Raises:
        MetaftError: if no data root holds the files.
    """
    return require_place(dataset, TEXTS[dataset].files, root)


def text_lines(path: Path, encoding: str | None = None) -> list[str]:
    """The lines of a file that are not empty, without the space around them.

    Args:
        path: of the file, packed as ``.gz`` or not.
        encoding: as for `metaft.data.text.decoded`.

    Returns:
        The lines.

    Raises:
        MetaftError: if it cannot be read.
    """
    return [line for line in lines(decoded(content(path), path, "a text a line", encoding)) if line]


def lines_in_zip(path: Path, member: str, encoding: str | None = None) -> list[str]:
    """As `text_lines`, of a file in a zip file.

    Args:
        path: of the zip file.
        member: the file's name in it.
        encoding: as for `metaft.data.text.decoded`.

    Raises:
        MetaftError: if there is no such file, or it cannot be read.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if archive.getinfo(member).file_size > MAX_BYTES:
                raise MetaftError(f"{path}: {member} is larger than {MAX_BYTES >> 30} GiB")
            held = archive.read(member)
    except KeyError:
        raise MetaftError(f"{path} holds no {member}; fetch it again") from None
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise MetaftError(f"{path} is not a complete zip file ({first_line(error)}); fetch it again") from None
    except OSError as error:
        raise MetaftError(f"cannot read {path}: {error.strerror or error}") from None
    return [line for line in lines(decoded(held, f"{path}: {member}", "a text a line", encoding)) if line]


def tab_rows(path: Path, cells: int, header: bool = False) -> Iterator[list[str]]:
    """The cells of a published file whose columns are parted by tabs, quotation marks being part of its texts.

    Args:
        path: of the file, packed as ``.gz`` or not.
        cells: how many a row has.
        header: whether the first line names the columns, and is passed over.

    Yields:
        The cells of each line that is not empty, without the space around them.

    Raises:
        MetaftError: if it cannot be read, or a line has more or fewer cells, naming the line.
    """
    for number, line in enumerate(lines(decoded(content(path), path, "columns parted by tabs")), start=1):
        row = [cell.strip() for cell in line.split("\t")]
        if not line or (header and number == 1):
            continue
        if len(row) != cells or not all(row):
            raise MetaftError(f"{path}, line {number}: expected {cells} cells parted by tabs; fetch it again")
        yield row


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


def json_lines(path: Path, encoding: str | None = None, otherwise: str = "") -> Iterator[tuple[int, dict[str, object]]]:
    """The objects of a file of JSON lines; empty lines are passed over.

    Args:
        path: of the file, packed or not.
        encoding: as for `metaft.data.text.decoded`.
        otherwise: likewise.

    Yields:
        The number of a line, from 1, and its object.

    Raises:
        MetaftError: if the file cannot be read, or a line is no JSON object.
    """
    text = decoded(content(path), path, "a JSON object a line", encoding, otherwise)
    for number, line in enumerate(lines(text), start=1):
        if not line:
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            why = first_line(error)
            if isinstance(error, json.JSONDecodeError):
                why = f"{error.msg} at column {error.colno}"
            raise MetaftError(f"{path}, line {number}: not JSON ({why}); expected one object a line") from None
        if not isinstance(row, dict):
            raise MetaftError(f'{path}, line {number}: {type(row).__name__}, not a JSON object such as {{"text": …}}')
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
