"""What was understood of a user's data and is worth a line: said once a command."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from contextvars import ContextVar

log = logging.getLogger(__name__)

_SAID: ContextVar[set[str] | None] = ContextVar("said", default=None)


@contextlib.contextmanager
def each_once() -> Iterator[None]:
    """Within it, a line that was said is not said again; a nested one adds nothing."""
    if _SAID.get() is not None:
        yield
        return
    token = _SAID.set(set())
    try:
        yield
    finally:
        _SAID.reset(token)


def say(line: str) -> None:
    """Say one line; in a command that reads the same data for several splits, once.

    Args:
        line: what to say.
    """
    said = _SAID.get()
    if said is not None:
        if line in said:
            return
        said.add(line)
    log.warning("%s", line)


def counted(number: int, singular: str, plural: str | None = None) -> str:
    """A number with its noun: "1 file", "2 files"."""
    return f"{number:,} {singular if number == 1 else plural or singular + 's'}"
