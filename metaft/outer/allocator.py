"""Memory that a computation gives back and soon wants again stays with the process."""

from __future__ import annotations

import ctypes
from functools import lru_cache

# Of glibc's mallopt(3).
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3
LARGEST = 2**25
"""Bytes; glibc takes no larger threshold for blocks that it asks the system for one by one."""


@lru_cache(maxsize=1)
def keep_memory() -> bool:
    """Let the C library keep freed blocks of up to 32 MiB for the next request, in this process, from now on.

    By default it hands large blocks back to the system and gets them again, page by page and filled with zeros, which
    takes longer than computing their contents: a third of a query pass of 75 images. The process holds on to its peak
    until it ends. Elsewhere than with glibc nothing happens.

    Returns:
        Whether the C library took it.
    """
    try:
        set_option = ctypes.CDLL(None).mallopt
    except (OSError, TypeError, AttributeError):
        return False
    # Threads have heaps of 64 MiB each, given back as a whole unless this much is asked for beyond every request.
    beyond = 2**28
    options = {M_MMAP_THRESHOLD: LARGEST, M_TRIM_THRESHOLD: 2**31 - 1, M_TOP_PAD: beyond}
    return all([set_option(option, value) for option, value in options.items()])
