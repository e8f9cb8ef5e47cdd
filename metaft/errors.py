"""The one exception type for a user's mistake: one line; a command ends with it, and with exit code 2."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from metaft.speech import spoken

_LONGEST = 4000
"""Characters of a message; no more of a file's content than that reaches the terminal."""


class MetaftError(ValueError):
    """A mistake the user can mend: the message names what was given, what was expected and what to do.

    Args:
        message: shown on one line, whatever a stranger's file put into it. What can be given is named as on the command
            line (``--ways 3``); in Python it reads ``ways=3`` (`metaft.speech`).
    """

    def __init__(self, message: str) -> None:
        line = printable(" ".join(str(message).split()))
        self.message = line if len(line) <= _LONGEST else f"{line[: _LONGEST // 2]} … {line[-_LONGEST // 2 :]}"
        super().__init__(self.message)

    def __str__(self) -> str:
        return spoken(self.message)


def printable(value: object) -> str:
    """A text on one line, without the control characters by which a stranger's file could steer a terminal.

    Args:
        value: of which to take ``str``.

    Returns:
        The text, each character that is not printable written as ``\\x1b``.
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "replace").decode() for c in str(value))


def first_line(error: BaseException) -> str:
    """What an error says, on one line of moderate length."""
    text = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return printable(text if len(text) <= 160 else f"{text[:160]}…")


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
