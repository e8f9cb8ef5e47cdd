"""The one exception type for a user's mistake: shown as a single line, exit code 2."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

import click


class MetaftError(click.ClickException):
    """A mistake the user can mend: the message names what was given, what was expected and what to do."""

    exit_code = 2


def nearest(name: str, known: Iterable[str]) -> str:
    """Say which known name is closest to a misspelt one.

    Args:
        name: what was given.
        known: the names that exist.

    Returns:
        ``"; did you mean 'x'?"``, or ``"; known: a, b"`` when nothing is close.
    """
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(names)}"
