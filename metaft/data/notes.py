"""What was understood of a user's data and is worth a line: said once a command."""

from __future__ import annotations

import logging

import click

log = logging.getLogger(__name__)


def say(line: str) -> None:
    """Say one line; in a command that reads the same data for several splits, once.

    Args:
        line: what to say.
    """
    context = click.get_current_context(silent=True)
    said: set[str] = set() if context is None else context.find_root().meta.setdefault(__name__, set())
    if line not in said:
        said.add(line)
        log.warning("%s", line)


def counted(number: int, singular: str, plural: str | None = None) -> str:
    """A number with its noun: "1 file", "2 files"."""
    return f"{number:,} {singular if number == 1 else plural or singular + 's'}"
