"""A setting that is said twice, beside a name and among its options, is said alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from metaft.errors import MetaftError


def as_text(value: Any) -> str:
    """A setting's value as it is written behind a name."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def require_once(given: Mapping[str, Any], whose: str, told: Mapping[str, str]) -> None:
    """Refuse a setting whose value beside a name is another than the one among its options.

    Args:
        given: setting → value; None and False are not given.
        whose: which setting has the options, such as "learner".
        told: setting → value, as the options say.

    Raises:
        MetaftError: naming both.
    """
    for name, text in told.items():
        value = given.get(name)
        if value is not None and value is not False and not _same(as_text(value), text):
            raise MetaftError(f"{name} = {value}: {whose} = {given[whose]} says {text}; give one of them")


def _same(one: str, other: str) -> bool:
    try:
        return float(one) == float(other)
    except ValueError:
        return one == other
