"""Spoiled files for every reader: ``python -m benchmarks.fuzz --results results``.

Each input must be read, or refused by a MetaftError of one line, within 5 seconds of computing and 1 GiB of new memory.
Anything else (another exception, a crash of the process, a hang) counts as a failure and is kept with its seed.
"""

from __future__ import annotations

import mmap
import os
import random
import resource
import shutil
import signal
import struct
import sys
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path
from types import FrameType

import click

from benchmarks.reliability.mutations import mutate
from benchmarks.reliability.readers import Reader, readers
from benchmarks.reliability.section import keep, results_option
from metaft.errors import MetaftError

SECONDS, MEMORY = 5, 2**30
AT_A_TIME = 500
"""Inputs a child process reads before the next one takes over."""


class TookTooLong(BaseException):
    """Not an Exception: no reader may mistake it for a fault of its file."""


def fuzz(name: str, reader: Reader, inputs: int, seed: int) -> tuple[Counter[str], list[dict[str, str | int]]]:
    """Let child processes read spoiled files; one that dies is replaced after the input that ended it.

    Args:
        name: of the reader, part of each input's seed.
        reader: what to test.
        inputs: how many.
        seed: the first; input i has seed + i.

    Returns:
        "read", "refused" or "failed" → how many; and of each failure its seed and what happened.
    """
    counts, failures, done = Counter[str](), list[dict[str, str | int]](), 0
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as folder:
        while done < inputs:
            # A page shared with the child: where it stands, so that its death can be put down to an input.
            shared, upto = mmap.mmap(-1, mmap.PAGESIZE), min(inputs, done + AT_A_TIME)
            report = Path(folder) / "report"
            report.unlink(missing_ok=True)
            child = os.fork()
            if child == 0:
                _be_reader(name, reader, range(seed + done, seed + upto), Path(folder) / "files", report, shared)
            code = _wait(child, shared)
            tried = struct.unpack("Q", shared[:8])[0]
            for line in report.read_text(errors="replace").splitlines() if report.exists() else ():
                kind, at, what = line.split("\t", 2)
                counts[kind] += 1
                if kind == "failed":
                    failures.append({"reader": name, "seed": int(at), "what": what})
            if code:
                counts["failed"] += 1
                failures.append({"reader": name, "seed": seed + done + tried, "what": f"process: {code}"})
                tried += 1
            done += tried
    return counts, failures


def spoiled(name: str, reader: Reader, seed: int, folder: Path) -> None:
    """Write a reader's files, one of them spoiled.

    Args:
        name: of the reader.
        reader: whose files.
        seed: of the input; all chance comes from it.
        folder: where to.
    """
    draw = random.Random(f"{name}/{seed}")
    victim = draw.choice(sorted(reader.files))
    shutil.rmtree(folder, ignore_errors=True)
    for file, content in reader.files.items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(mutate(content, draw) if file == victim else content)


def _be_reader(name: str, reader: Reader, seeds: range, folder: Path, report: Path, shared: mmap.mmap) -> None:
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        warnings.simplefilter("ignore")
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        signal.signal(signal.SIGPROF, _too_long)
        with open(report, "w", encoding="utf-8", errors="replace", buffering=1) as out:
            for number, seed in enumerate(seeds):
                shared[:8] = struct.pack("Q", number)
                spoiled(name, reader, seed, folder)
                out.write("\t".join(_one(reader, folder, seed)) + "\n")
            shared[:8] = struct.pack("Q", len(seeds))
    except BaseException:
        os._exit(1)
    os._exit(0)


def _one(reader: Reader, folder: Path, seed: int) -> tuple[str, str, str]:
    # Seconds of the processor: the machine may be busy with other things.
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        reader.read(folder)
        return "read", str(seed), ""
    except MetaftError as error:
        good = "\n" not in error.message and error.message.isprintable()
        return ("refused", str(seed), "") if good else ("failed", str(seed), f"not one line: {error.message!r}")
    except BaseException as error:
        what = " ".join(f"{type(error).__name__}: {error}".split())
        return "failed", str(seed), what[:300]
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _too_long(signum: int, frame: FrameType | None) -> None:
    raise TookTooLong(f"more than {SECONDS} s")


def _wait(child: int, shared: mmap.mmap) -> str:
    """Wait for a child; one that waits, or does not heed the alarm, is ended. What it died of, or nothing."""
    last, since = b"", time.monotonic()
    while True:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            code = os.waitstatus_to_exitcode(status)
            return "" if code == 0 else f"exit code {code}"
        if shared[:8] != last:
            last, since = shared[:8], time.monotonic()
        elif time.monotonic() - since > 12 * SECONDS:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return "hang"
        time.sleep(0.01)


@click.command()
@results_option
@click.option("--inputs", default=1200, show_default=True, help="spoiled files a reader")
@click.option("--seed", default=0, show_default=True)
@click.option("--reader", "only", multiple=True, help="these readers alone")
def main(results: Path | None, inputs: int, seed: int, only: tuple[str, ...]) -> None:
    """Feed spoiled files to every reader."""
    rows, failures = [], []
    for name, reader in readers().items():
        if only and name not in only:
            continue
        counts, failed = fuzz(name, reader, inputs, seed)
        rows.append((name, sum(counts.values()), counts["read"], counts["refused"], counts["failed"]))
        failures += failed
        print(*rows[-1], sep="\t", flush=True)
        for failure in failed[:5]:
            print("   ", failure, flush=True)
    total = ["all", *(sum(row[i] for row in rows) for i in range(1, 5))]
    print(*total, sep="\t")
    command = f"python -m benchmarks.fuzz --inputs {inputs} --seed {seed}"
    keep(results, "fuzz", command, [*rows, total], {"failures": failures}, seconds=SECONDS)
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
