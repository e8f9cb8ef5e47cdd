"""Numbers that are refused in one line where they are no count, not positive, or no fraction."""

from __future__ import annotations

import math
from numbers import Integral, Real

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


def require_positive(value: object, name: str) -> None:
    """Refuse what is not a positive finite number.

    Args:
        value: as given.
        name: what it is called, for the message.

    Raises:
        MetaftError: naming both.
    """
    number = isinstance(value, Real) and not isinstance(value, bool)
    if not (number and value > 0 and math.isfinite(value)):  # type: ignore[operator, arg-type]
        raise MetaftError(f"{name} must be a positive finite number, not {str(value)[:80]}")


def number(value: str | float, name: str) -> float:
    """A number, perhaps given as text.

    Args:
        value: as given.
        name: what it is called, for the message.

    Returns:
        The number.

    Raises:
        MetaftError: naming both.
    """
    try:
        return float(value)
    except ValueError:
        raise MetaftError(f"{name} = {value}: should be a number") from None


def require_fraction(value: float, name: str) -> None:
    """Refuse a decay that is not in [0, 1).

    Args:
        value: as given.
        name: what it is called, for the message.

    Raises:
        MetaftError: naming both.
    """
    if not 0 <= value < 1:
        raise MetaftError(f"{name} must lie in [0, 1), not {value!r}")
