"""Reading the files of a run that may come from a stranger: bounded, never executed, damage said in one line."""

from __future__ import annotations

import fcntl
import json
import os
import stat
from pathlib import Path
from typing import Any

from metaft.errors import MetaftError, printable
from metaft.files import shown

__all__ = [
    "MAX_BYTES",
    "dig",
    "entries",
    "in_use",
    "known",
    "number",
    "printable",
    "read_bytes",
    "read_json",
    "read_rows",
]

MAX_BYTES = 64 * 2**20
"""Far more than any record of a run holds."""


def read_bytes(path: str | Path, most: int = MAX_BYTES) -> bytes:
    """Read an ordinary file.

    Args:
        path: the file.
        most: its largest size in bytes.

    Returns:
        Its content.

    Raises:
        MetaftError: if it is absent, unreadable, too large, or not an ordinary file (a pipe would wait forever).
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        with os.fdopen(handle, "rb") as file:
            found = os.fstat(handle)
            if not stat.S_ISREG(found.st_mode):
                raise MetaftError(f"{printable(path)} is not an ordinary file")
            if found.st_size > most:
                raise MetaftError(f"{printable(path)} is larger than {most:,} bytes")
            # One more than there is, not than there may be: room for it all is taken at once.
            content = file.read(found.st_size + 1)
    except OSError as error:
        raise MetaftError(f"{printable(path)} cannot be read: {error.strerror}") from None
    if len(content) > most:
        raise MetaftError(f"{printable(path)} is larger than {most:,} bytes")
    return content


def read_json(path: str | Path) -> dict[str, Any]:
    """Read a JSON object.

    Args:
        path: the file.

    Returns:
        Its entries, unchecked.

    Raises:
        MetaftError: as `read_bytes`, or if it is not JSON, or not an object.
    """
    content = read_bytes(path)
    try:
        found = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise MetaftError(f"{printable(path)} is damaged: {printable(error)}") from None
    if not isinstance(found, dict):
        raise MetaftError(f"{printable(path)} is damaged: it does not hold a record")
    return found


def known(path: str | Path) -> dict[str, Any]:
    """As `read_json`; empty where there is no such file, or it is damaged."""
    try:
        return read_json(path)
    except MetaftError:
        return {}


def read_run(folder: str | Path) -> dict[str, Any]:
    """Read what a run says about itself.

    Args:
        folder: the run directory.

    Returns:
        The entries of its ``run.json``, unchecked.

    Raises:
        MetaftError: if there is no run, or as `read_json`.
    """
    if not os.path.lexists(Path(folder) / "run.json"):
        raise MetaftError(f"no run in {shown(folder)} (there is no run.json); metaft runs lists those there are")
    return read_json(Path(folder) / "run.json")


def read_rows(path: str | Path) -> list[dict[str, Any]]:
    """Read a file of JSON lines; lines that are damaged, or cut short by a crash, are left out.

    Args:
        path: the file.

    Returns:
        One dictionary a line, unchecked.

    Raises:
        MetaftError: as `read_bytes`.
    """
    rows = []
    for line in read_bytes(path).split(b"\n")[:-1]:
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(row, dict):
            rows.append(row)
    return rows


def dig(record: Any, *names: str) -> Any:
    """An entry of nested records, or None where there is none.

    Args:
        record: the outermost.
        names: entry after entry.
    """
    for name in names:
        record = record.get(name) if isinstance(record, dict) else None
    return record


def entries(record: Any, *names: str) -> dict[str, Any]:
    """A record within nested records; empty where there is none.

    Args:
        record: the outermost.
        names: entry after entry.
    """
    found = dig(record, *names)
    return found if isinstance(found, dict) else {}


def number(value: Any) -> float | None:
    """A finite number, or None for anything else."""
    ordinary = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300
    return float(value) if ordinary else None


def in_use(folder: str | Path) -> bool:
    """Whether a process holds a run folder's lock.

    Args:
        folder: the run folder.
    """
    try:
        handle = os.open(Path(folder) / ".lock", os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(handle)
    return False
