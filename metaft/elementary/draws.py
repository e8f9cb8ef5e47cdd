"""Random numbers as a pure function of a key and a place: the same for any recomputation, worker, rank or batching.

A stream of torch's own generator is a state that moves: what is computed again draws other numbers, and threads take
each other's. Here number i under a key is a hash of both, in integer operations that may be batched, compiled and run
anywhere: keys by SplitMix64 (Steele et al. 2014, fig. 17), places by two rounds of a 32-bit mixer with the constants of
C. Wellons ("Prospecting for hash functions", 2018).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

GOLDEN = 0x9E3779B97F4A7C15
_FIRST, _SECOND = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
_MASK = (1 << 64) - 1


def stream(*parts: int) -> int:
    """One whole number for several, such as a seed and an iteration: nothing else gives the same, nor one near it.

    Args:
        parts: whole numbers of any size.

    Returns:
        A number in [−2⁶³, 2⁶³).
    """
    found = 0
    for part in parts:
        while True:
            found = _mixed((found + GOLDEN + (part & _MASK)) & _MASK)
            part >>= 64
            if part in (0, -1):
                break
    return _signed(found)


def keys(tasks: int, base: int, device: torch.device | str = "cpu") -> Tensor:
    """A key for each task.

    Args:
        tasks: how many.
        base: as from ``stream``.
        device: where they are wanted.

    Returns:
        ``int64 [tasks]``.
    """
    if base + tasks < 2**63:
        return torch.arange(base, base + tasks, device=device)
    return torch.arange(tasks, device=device) + base  # wraps around


def at(keys: Tensor, place: int) -> Tensor:
    """Other keys, one for each: those of an inner step, say.

    Args:
        keys: ``int64``, any shape.
        place: which.

    Returns:
        Like ``keys``.
    """
    return keys + _signed((place + 1) * _FIRST & _MASK)


def uniform(key: Tensor, call: int, shape: Sequence[int], dtype: torch.dtype, rows: Tensor | None = None) -> Tensor:
    """Numbers drawn uniformly from (0, 1).

    Args:
        key: ``int64``, a scalar; or ``[rows]`` where each of the leading rows draws by its own, such as the examples of
            a minibatch.
        call: which draw under this key.
        shape: of the result.
        dtype: of the result.
        rows: ``int64 [shape[1]]``, of a shape ``[1, rows, ...]``: which rows of a larger draw are wanted; all if None.

    Returns:
        ``shape``; never 0 or 1, so that logarithms are finite.
    """
    if key.dim():
        return _by_row(key, call, shape, dtype)
    own = _hash(key + _signed((call + 1) * GOLDEN & _MASK))
    low, high = own.to(torch.int32), (own >> 32).to(torch.int32)
    # 32-bit numbers for the places: processors multiply many of them at once, and none of 64 bits.
    places = torch.arange(math.prod(shape if rows is None else shape[2:]), device=key.device, dtype=torch.int32)
    if rows is not None:
        places = (rows.to(torch.int32)[:, None] * len(places) + places).flatten()
    bits = _scattered(_scattered(places ^ low) + high)
    # The middle of one of 2^digits equal stretches.
    if dtype == torch.float64:
        more = _scattered(_scattered(places ^ high) + low)
        found = _leading(bits, 26).double() * 2.0**-26 + _leading(more, 25).double() * 2.0**-51 + 2.0**-52
    else:
        found = (_leading(bits, 23).float() * 2.0**-23 + 2.0**-24).to(dtype)
    return found.reshape(tuple(shape))


def _by_row(keys: Tensor, call: int, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """Where the first axis holds each row several times over (an attention's heads, say) they are told apart."""
    rows = len(keys)
    if not shape or shape[0] % rows:  # no axis of rows: a draw that all of them have in common
        return uniform(keys[0], call, shape, dtype)
    each = torch.func.vmap(lambda key: uniform(key, call, (shape[0] // rows, *shape[1:]), dtype))(keys)
    return each.flatten(0, 1)


def normal(key: Tensor, call: int, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """Numbers drawn from the standard normal distribution; arguments as of ``uniform``."""
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    return (math.sqrt(2) * torch.erfinv(2 * uniform(key, call, shape, wide) - 1)).to(dtype)


def _hash(x: Tensor) -> Tensor:
    x = (x ^ _shifted(x, 30, 64)) * _signed(_FIRST)
    x = (x ^ _shifted(x, 27, 64)) * _signed(_SECOND)
    return x ^ _shifted(x, 31, 64)


def _scattered(x: Tensor) -> Tensor:
    """A permutation of 32-bit numbers that leaves no trace of their order."""
    x = (x ^ _shifted(x, 16, 32)) * 0x7FEB352D
    x = (x ^ _shifted(x, 15, 32)) * (0x846CA68B - (1 << 32))
    return x ^ _shifted(x, 16, 32)


def _leading(x: Tensor, digits: int) -> Tensor:
    return _shifted(x, 32 - digits, 32)


def _shifted(x: Tensor, by: int, width: int) -> Tensor:
    return (x >> by) & ((1 << (width - by)) - 1)  # torch's own shift fills up with the sign


def _mixed(x: int) -> int:
    x = ((x ^ (x >> 30)) * _FIRST) & _MASK
    x = ((x ^ (x >> 27)) * _SECOND) & _MASK
    return x ^ (x >> 31)


def _signed(x: int) -> int:
    return x - (1 << 64) if x >> 63 else x
