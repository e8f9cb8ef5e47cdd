"""Waiting for the disk, and saying clearly when it cannot take more."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from metaft.errors import MetaftError


def write_synced(path: Path, content: bytes) -> None:
    """Write a file and wait until the disk has it."""
    with open(path, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Wait until the disk has a folder's entries (a rename is not durable before)."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def clear_disk_errors(what: str, rest: str = "") -> Iterator[None]:
    """Turn a full or read-only disk into one line.

    Args:
        what: what was being written.
        rest: what the user should know, such as which checkpoint is intact.

    Raises:
        MetaftError: for any OSError inside.
    """
    try:
        yield
    except OSError as error:
        cause = "no space left on the disk" if error.errno in (errno.ENOSPC, errno.EDQUOT) else error.strerror or error
        raise MetaftError(f"cannot write {what}: {cause}{'; ' + rest if rest else ''}") from error
