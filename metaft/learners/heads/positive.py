"""A check that heads share."""

from __future__ import annotations

import math

from metaft.errors import MetaftError


def require_positive(**given: float) -> None:
    """Refuse settings that are not above 0 and finite.

    Args:
        given: name → value.

    Raises:
        MetaftError: naming the first that is not.
    """
    for name, value in given.items():
        if not (value > 0 and math.isfinite(value)):
            raise MetaftError(f"{name} must be above 0, got {value}")
