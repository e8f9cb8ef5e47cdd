"""Seeds: two different ones are two streams of random numbers, everywhere in metaft."""

from __future__ import annotations

from numbers import Integral
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from metaft.errors import MetaftError

SEEDS = 2**32
"""How many there are. Torch's generator on the CPU and our own keys hold 32 bits: from here on streams would repeat."""


def require_seed(seed: object, name: str = "seed", below: int | None = SEEDS) -> int:
    """Refuse what would draw the same numbers as another seed, or none.

    Args:
        seed: as given.
        name: what it is called, for the message.
        below: the first number that is too large; None for a generator that takes any.

    Returns:
        The seed, a whole number from 0 to 2³² − 1.

    Raises:
        MetaftError: for anything else: fractions, booleans, negative and larger numbers.
    """
    if isinstance(seed, Integral) and not isinstance(seed, bool):
        whole = int(seed)
        if whole >= 0 and (below is None or whole < below):
            return whole
    span = "0 or more" if below is None else f"from 0 to {below - 1}"
    raise MetaftError(f"{name} = {str(seed)[:80]}: a seed should be a whole number, {span}")


def _whole(value: Any) -> Any:
    """Only what is written as a whole number: 1.0 would be another way to write seed 1."""
    if isinstance(value, float) or (isinstance(value, str) and not value.strip().lstrip("+-").isdecimal()):
        raise ValueError("should be a whole number")
    return int(value) if isinstance(value, Integral) and not isinstance(value, bool) else value


Seed = Annotated[int, BeforeValidator(_whole), Field(ge=0, lt=SEEDS)]
"""A setting that is a seed."""

DivisionSeed = Annotated[int, BeforeValidator(_whole), Field(ge=0, lt=2**63)]
"""A seed by which data are divided: hashed, so that it may be larger."""
