"""Where data sets are looked for, where decoded copies are kept, and fetching what is missing."""

from __future__ import annotations

import functools
import http.client
import logging
import os
import socket
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from metaft.data.compat import torchvision_module
from metaft.errors import MetaftError

log = logging.getLogger(__name__)
# A dead network must end in a message, not in silence.
TIMEOUT_SECONDS = 30.0
T = TypeVar("T")


def roots(data_root: str | Path | None = None) -> list[Path]:
    """The folders that may hold data sets, in the order in which they are searched.

    Args:
        data_root: what the user gave as ``--data-root``, if anything.

    Returns:
        ``data_root``, then ``$METAFT_DATA``, then ``./data``; those that are set.
    """
    given = [data_root, os.environ.get("METAFT_DATA"), "data"]
    return [Path(os.path.expanduser(folder)) for folder in given if folder]


def find(dataset: str, data_root: str | Path | None, holds: Callable[[Path], T | None]) -> T | None:
    """Ask each root in turn whether it holds a data set.

    Args:
        dataset: its name, for the warning when it is not where the user said.
        data_root: as for :func:`roots`.
        holds: what a root holds, or ``None``.

    Returns:
        The first answer that is not ``None``, or ``None``.
    """
    for root in roots(data_root):
        found = holds(root)
        if found is not None:
            if data_root and root != roots(data_root)[0]:
                _warn_elsewhere(dataset, data_root, root)
            return found
    return None


@functools.cache
def _warn_elsewhere(dataset: str, asked: str | Path, used: Path) -> None:
    log.warning("no %s under %s: using the one under %s", dataset, asked, used)


def cache_dir() -> Path:
    """The folder for decoded copies: ``$METAFT_CACHE``, else ``metaft`` in the user's cache folder."""
    if own := os.environ.get("METAFT_CACHE"):
        return Path(os.path.expanduser(own))
    base = os.path.expanduser(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
    # A user without a home, as in some containers: no folder called "~" in the working directory.
    return Path(tempfile.gettempdir() if base.startswith("~") else base) / "metaft"


def offline() -> bool:
    """Whether downloads are switched off (``METAFT_OFFLINE`` set to anything but ``0``)."""
    return os.environ.get("METAFT_OFFLINE", "") not in ("", "0")


def download(prefix: str, md5s: Mapping[str, str], folder: Path) -> None:
    """Fetch files into a folder; each appears under its name only when it is complete and its md5 is right.

    Args:
        prefix: the address up to the file name.
        md5s: file name → md5.
        folder: where to put them; made if need be.

    Raises:
        MetaftError: if downloads are switched off or one fails, with the reason alone.
    """
    if offline():
        raise MetaftError("METAFT_OFFLINE is set")
    utils = torchvision_module("torchvision.datasets.utils")
    made = [path for path in (folder, *folder.parents) if not os.path.exists(path)]
    for name, md5 in md5s.items():
        partial = folder / f".{name}.{os.getpid()}.part"
        try:
            with _timeout(TIMEOUT_SECONDS):
                utils.download_url(f"{prefix}/{name}", folder, partial.name, md5)
            os.replace(partial, folder / name)
        except (OSError, RuntimeError, RecursionError, ValueError, http.client.HTTPException) as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise MetaftError(f"{name}: {reason}") from error
        finally:
            # On failure nothing is left behind: neither a part of a file nor folders made for it.
            with suppress(OSError):
                partial.unlink(missing_ok=True)
            for path in made:
                with suppress(OSError):
                    path.rmdir()


@contextmanager
def _timeout(seconds: float) -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
