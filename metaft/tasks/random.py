"""Random numbers that are a pure function of their key: any worker, any restart, the same draw."""

from __future__ import annotations

import zlib

import numpy as np

from metaft.seeds import require_seed

_MASK = (1 << 64) - 1


def generator(seed: int, purpose: str, index: int) -> np.random.Generator:
    """Make the generator that belongs to one (seed, purpose, index).

    Philox is counter-based (Salmon et al. 2011): every key is a stream of its own, and starting one costs
    microseconds, so no state has to travel between batches, workers or restarts.

    Args:
        seed: the user's seed, from 0 to 2³² − 1.
        purpose: what is drawn ("omniglot/train", say), so that splits sharing a seed do not share draws.
        index: which batch.

    Returns:
        A numpy generator at the start of that stream.

    Raises:
        MetaftError: for another seed, which would have the stream of one of these.
    """
    stream = (zlib.crc32(purpose.encode()) << 32) | require_seed(seed)
    return np.random.Generator(np.random.Philox(key=np.array([stream, index & _MASK], dtype=np.uint64)))
