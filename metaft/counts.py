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
    raise MetaftError(f"{name} must be a whole number of at least {least}, not {str(value)[:80]}")


def count_range(value: object, name: str, least: int = 0) -> tuple[int, int]:
    """A count, or a range of counts, as a range.

    Args:
        value: a number, or ``(fewest, most)``.
        name: what is counted, for the message.
        least: the smallest that will do.

    Returns:
        The fewest and the most.

    Raises:
        MetaftError: for anything else.
    """
    if not isinstance(value, tuple | list):
        value = (value, value)
    if len(value) != 2:
        raise MetaftError(f"{name} must be a whole number or two, the fewest and the most, not {str(value)[:80]}")
    fewest, most = (require_count(one, name, least) for one in value)
    return fewest, most
