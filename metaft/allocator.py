"""What the C library does with memory that was freed."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from functools import lru_cache

# malloc.h of glibc
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3
_KEPT, _AHEAD = 2**31 - 1, 2**28
_LARGEST = (2**30, 2**25)  # what is asked for, and what older versions allow at most


@lru_cache(maxsize=1)
def keep_freed_memory() -> bool:
    """Let this process keep freed memory for its next use, where the C library is glibc.

    A training step frees its activations and the next one asks for as much again. glibc gives large blocks back to the
    system at once, and what it then gets anew has to be cleared page by page: with 960 images a step that took
    four tenths of the time. The process holds on to its peak until it ends. Left alone where the environment says
    something about malloc. Results do not change.

    Returns:
        Whether it was done.
    """
    mallopt = _mallopt()
    # First of all the threshold: the other settings alone would fix it at 128 KiB.
    if mallopt is None or not any(mallopt(_MMAP_THRESHOLD, size) for size in _LARGEST):
        return False
    done = [mallopt(name, value) for name, value in {_TRIM_THRESHOLD: _KEPT, _TOP_PAD: _AHEAD}.items()]
    return all(done)


def _mallopt() -> Callable[[int, int], int] | None:
    """Of glibc; None for another library, and where the environment has decided."""
    if any(name.startswith("MALLOC_") or name == "GLIBC_TUNABLES" for name in os.environ):
        return None
    try:
        found: Callable[[int, int], int] = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # another C library, or another system
        return None
    return found
