"""Writing files whole or not at all, waiting for the disk, and saying clearly when it cannot take more."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from metaft.errors import MetaftError

_PARTIAL = ".partial"
_SHOWN = 160
"""Characters of a path that a message shows."""


def folder_path(path: str | Path, option: str = "--out") -> Path:
    """A folder that a user names, to be made if it is not there.

    Args:
        path: as given. ``missing/../runs`` is taken for ``runs``, as shells' completion and editors do.
        option: by which it was given, for the message.

    Returns:
        The path.

    Raises:
        MetaftError: if a folder cannot be made there, or not be written to: an empty or too long name, a file or a
            link that leads nowhere in its place or above it, no permission. Nothing is made.
    """
    if not str(path) or "\0" in str(path):
        raise MetaftError(f"{str(path)!r} is no name of a folder: give another {option}")
    found = Path(path)
    try:
        if os.pardir in found.parts and not os.path.exists(_up_to_last_step_up(found)):
            found = Path(os.path.normpath(found))
        above = _nearest_there(found)
        if above.is_symlink() and not above.exists():
            raise MetaftError(f"{shown(above)} is a link that leads nowhere ({shown(os.readlink(above))}); mend it")
        if not above.is_dir():
            below = "" if above == found else f", so {shown(found)} cannot lie in it"
            raise MetaftError(f"{shown(above)} is a file, a folder is needed{below}; give another {option}")
        if not os.access(above, os.W_OK | os.X_OK):
            raise MetaftError(f"no permission to write in {shown(above)}; give another {option}")
    except OSError as error:
        raise MetaftError(f"{shown(found)} cannot be used: {error.strerror or error}; give another {option}") from None
    return found


def require_place(option: str, file: str | Path | None) -> None:
    """Refuse a file that cannot be written before the work, not after it.

    Args:
        option: by which it was given, for the message.
        file: to be written; None for none.

    Raises:
        MetaftError: if it is a folder, or its folder cannot be made or written to.
    """
    if file is not None:
        folder_path(Path(file).parent, option)
        if Path(file).is_dir():
            raise MetaftError(f"{file} is a folder; {option} needs the name of a file")


def _up_to_last_step_up(path: Path) -> Path:
    parts = path.parts
    return Path(*parts[: len(parts) - parts[::-1].index(os.pardir)])


def _nearest_there(path: Path) -> Path:
    """A path itself, or the nearest above it that exists; a link that leads nowhere does."""
    while True:
        try:
            os.lstat(path)
        except (FileNotFoundError, NotADirectoryError):
            if path == path.parent:
                return path
            path = path.parent
        else:
            return path


def shown(path: str | Path) -> str:
    """A path for a message: one too long to read is cut."""
    text = str(path)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN // 2]}…{text[-_SHOWN // 4 :]}"


def write_synced(path: Path, content: bytes) -> None:
    """Write a file and wait until the disk has it."""
    with open(path, "xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def replace_file(path: Path, content: bytes) -> None:
    """Write beside the target, flush to disk, then rename over it; missing parent folders are made.

    Args:
        path: the file to make or replace.
        content: its bytes.

    Raises:
        OSError: if the file cannot be written; what was there before stays, and nothing is left beside it.
    """
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}{_PARTIAL}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_synced(partial, content)
        os.replace(partial, path)
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def is_partial(name: str) -> bool:
    """Whether a file of this name is one that :func:`replace_file` had not finished."""
    return name.startswith(".") and name.endswith(_PARTIAL)


def remove_partial_files(folder: Path) -> None:
    """Remove what killed processes had not finished; only for a folder that no other process writes to."""
    for file in folder.glob(f".*{_PARTIAL}"):
        file.unlink(missing_ok=True)


def write_atomically(path: str | Path, content: bytes) -> None:
    """:func:`replace_file`, for a file the user asked for.

    Args:
        path: the file to make or replace.
        content: its bytes.

    Raises:
        MetaftError: if the file cannot be written (no space, no permission).
    """
    with clear_disk_errors(shown(path), "choose another place, or make room"):
        replace_file(Path(path), content)


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
