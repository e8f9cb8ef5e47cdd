"""Random numbers for dividing and disturbing data: a stream for each purpose, the same on every machine."""

from __future__ import annotations

import zlib

from numpy.random import Generator, Philox, SeedSequence

from metaft.seeds import require_seed


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
    whole = require_seed(seed, below=None)  # hashed, so that no two are alike however large
    return Generator(Philox(SeedSequence(whole, spawn_key=(zlib.crc32(purpose.encode()),))))
