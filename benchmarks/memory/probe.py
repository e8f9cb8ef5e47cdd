"""Peak memory of one meta-gradient in a fresh process: ``python -m benchmarks.memory.probe ENTRANT POOL STEPS``."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import resource
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import click
import torch

from benchmarks.peers import entrants
from benchmarks.speed import conv4
from benchmarks.speed.problem import Compute, Problem

# Uncompiled, one worker, one thread: what is compared is what has to be kept, not how it is scheduled.
ENTRANTS: dict[str, Callable[[Problem], Compute]] = {
    **{f"metaft {memory}": partial(entrants.with_metaft, engine="eager", workers=1, memory=memory)
       for memory in ("flat", "checkpoints", "graph")},
    **{name: entrants.PEERS[name] for name in ("learn2learn", "higher")},
}  # fmt: skip
TASKS = 8
STATUS = Path("/proc/self/status")


def resident() -> float:
    """Resident memory now, in MiB (the peak so far where the system does not tell)."""
    return _status("VmRSS") if STATUS.exists() else peak()


def peak() -> float:
    """Peak resident memory since `forget_peak`, in MiB (since the process began where that cannot be reset)."""
    if STATUS.exists():
        return _status("VmHWM")
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def trim() -> None:
    """Give free memory back to the system (glibc)."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def forget_peak() -> None:
    """Give free memory back to the system (glibc), and start a new peak (Linux: proc(5), clear_refs)."""
    gc.collect()
    trim()
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _status(field: str) -> float:
    lines = STATUS.read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field + ":")) / 1024


def problem(pool: str, steps: int, tasks: int = TASKS) -> Problem:
    """Conv4, 5-way 1-shot, 15 queries a class; a small inner rate, so that many steps stay finite."""
    base = conv4.maxpool(tasks, steps) if pool == "max" else conv4.stride2(tasks)
    return Problem(base.network, conv4.maxpool(tasks).batch, base.kind, lr=0.01, steps=steps)


@click.command()
@click.argument("entrant", type=click.Choice(list(ENTRANTS)))
@click.argument("pool", type=click.Choice(["max", "stride"]))
@click.argument("steps", type=int)
def main(entrant: str, pool: str, steps: int) -> None:
    """Print baseline and peak in MiB and the seconds taken, as JSON."""
    torch.set_num_threads(1)
    ENTRANTS[entrant](problem(pool, 1, tasks=1))()  # loads what is loaded on first use
    work = problem(pool, steps)
    compute = ENTRANTS[entrant](work)
    forget_peak()
    before, start = resident(), time.perf_counter()
    grads = compute()
    seconds = time.perf_counter() - start
    found = {"baseline_mib": before, "peak_mib": peak(), "seconds": seconds}
    finite = all(bool(g.isfinite().all()) for g in grads.values())
    print(json.dumps({"entrant": entrant, "pool": pool, "steps": steps, **found, "finite": finite}))


if __name__ == "__main__":
    main()
