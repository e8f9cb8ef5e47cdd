"""How much memory a piece of work adds at its peak."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@dataclass
class Peak:
    """What was measured, in bytes; None until the work is done or where it cannot be measured.

    Args:
        added: to what the process held before.
        high: the most that it held in all.
    """

    added: int | None = None
    high: int | None = None


@contextlib.contextmanager
def peak_memory() -> Iterator[Peak]:
    """Measure the highest resident memory of the process inside the block, above what it held at the beginning.

    Linux alone keeps a high-water mark that can be set back (proc(5): clear_refs, VmHWM). Freed memory that the
    allocator still holds is given back first, or the second of two equal pieces of work would seem to need none.

    Yields:
        To be read after the block.
    """
    peak, before = Peak(), None
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
    with contextlib.suppress(OSError):
        CLEAR.write_text("5")
        before = _resident("VmRSS")
    yield peak
    with contextlib.suppress(OSError):
        high = _resident("VmHWM")
        if before is not None and high is not None:
            peak.added, peak.high = max(high - before, 0), high


def _resident(field: str) -> int | None:
    found = re.search(rf"^{field}:\s+(\d+) kB", STATUS.read_text(encoding="utf-8"), re.MULTILINE)
    return 1024 * int(found[1]) if found else None
