"""What the C library does with memory that was freed."""

from __future__ import annotations

import ctypes
import os
from functools import lru_cache

# malloc.h of glibc
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -2, -3, -8
_KEPT, _LARGEST, _AHEAD = 2**31 - 1, 2**30, 2**28


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
    if any(name.startswith("MALLOC_") or name == "GLIBC_TUNABLES" for name in os.environ):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # another C library, or another system
        return False
    # The heaps that glibc makes for further threads hold 64 MiB at most: larger tensors of a worker would be fetched
    # anew each time. With one arena for all threads they are kept as well.
    settings = {_MMAP_THRESHOLD: _LARGEST, _TRIM_THRESHOLD: _KEPT, _TOP_PAD: _AHEAD, _ARENA_MAX: 1}
    done = [mallopt(name, value) for name, value in settings.items()]
    return all(done)
