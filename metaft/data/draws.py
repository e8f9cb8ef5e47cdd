"""Random numbers for dividing and disturbing data: a stream for each purpose, the same on every machine."""

from __future__ import annotations

import zlib

from numpy.random import Generator, Philox, SeedSequence

from metaft.errors import MetaftError


def draws(seed: int, purpose: str) -> Generator:
    """The stream of random numbers that belongs to one seed and purpose.

    Args:
        seed: the user's seed, at least 0.
        purpose: what is drawn ("label noise", say), so that two purposes that share a seed share no draws.

    Returns:
        A generator at its start.

    Raises:
        MetaftError: if the seed is no whole number from 0.
    """
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise MetaftError(f"a seed must be a whole number, 0 or more, not {seed!r}")
    return Generator(Philox(SeedSequence(seed, spawn_key=(zlib.crc32(purpose.encode()),))))
