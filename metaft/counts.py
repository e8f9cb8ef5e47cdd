"""Counts: whole numbers that are refused in one line where they are none."""

from __future__ import annotations

from numbers import Integral

from metaft.errors import MetaftError


def require_count(value: object, name: str, least: int = 0) -> int:
    """Refuse what counts nothing: fractions, booleans, NaN, and numbers that are too small.

    Args:
        value: as given.
        name: what is counted, for the message.
        least: the smallest that will do.

    Returns:
        The number.

    Raises:
        MetaftError: for anything else.
    """
    if isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= least:
        return int(value)
    raise MetaftError(f"{name} must be {least} or more, a whole number, not {str(value)[:80]}")
