"""Examples in a new order every epoch, of which minibatches follow one another without a gap."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from metaft.tasks.random import generator


def rows(seed: int, purpose: str, index: int, tasks: int, count: int) -> np.ndarray:
    """Which examples the index-th minibatch has; pure in all of this.

    Args:
        seed: of the orders.
        purpose: what is drawn, so that others draw otherwise.
        index: which minibatch.
        tasks: how many examples it has.
        count: how many there are; a minibatch may be larger, and has some of them again.

    Returns:
        Their numbers, ``int64 [tasks]``.
    """
    epochs, places = np.divmod(np.arange(index * tasks, (index + 1) * tasks), count)
    each = (_order(seed, purpose, int(epoch), count)[places[epochs == epoch]] for epoch in np.unique(epochs))
    return np.concatenate(list(each))


@lru_cache(maxsize=4)
def _order(seed: int, purpose: str, epoch: int, count: int) -> np.ndarray:
    """All examples once, ``int64 [count]``."""
    return generator(seed, f"{purpose}/epoch", epoch).permutation(count)
