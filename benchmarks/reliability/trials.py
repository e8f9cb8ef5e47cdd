"""Trials of a run: killed, out of room, asked to stop; each compared with a run that was never interrupted."""

from __future__ import annotations

import errno
import itertools
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.reliability.child import FULL, KILL_BEFORE, KILL_INSIDE, READ_ONLY, SETTINGS, Ended, difference, train

Where = dict[str, Any]
SHORT, LONG = 8, 40
"""Iterations of a run: 4 checkpoints for trials at every call, 20 for random moments."""


class Tally:
    """Counts trials by kind, and keeps what went wrong."""

    def __init__(self) -> None:
        self.tried: Counter[str] = Counter()
        self.equal: Counter[str] = Counter()
        self.failures: list[Where] = []

    def add(self, kind: str, wrong: str, **where: Any) -> None:
        """Count a trial; ``wrong`` is empty where all was as it should be."""
        self.tried[kind] += 1
        self.equal[kind] += not wrong
        if wrong:
            self.failures.append({"kind": kind, "wrong": wrong, **where})
            print(f"  {kind}: {wrong} {where}", flush=True)

    def rows(self) -> list[tuple[str, int, int]]:
        """Kind, tried, as it should be."""
        return [(kind, count, self.equal[kind]) for kind, count in self.tried.items()]


def finish(out: Path, whole: Path, iterations: int) -> str:
    """Resume to the end; what is wrong then, or an empty text."""
    ended = train(out, iterations)
    if ended.code != 0:
        return f"resuming ended with {ended.code}: {ended.said.strip()[-300:]}"
    return difference(whole, out)


def kills_at_random(folder: Path, trials: int, seed: int) -> tuple[Tally, int]:
    """Kill at random moments, one to three times a run."""
    tally, draw, kills = Tally(), random.Random(seed), 0
    whole = folder / "whole"
    seconds = train(whole, LONG).seconds
    for trial in range(trials):
        out, wanted, met = folder / f"random-{trial}", 1 + trial % 3, 0
        while met == 0:
            shutil.rmtree(out, ignore_errors=True)
            for _ in range(wanted):
                ended = train(out, LONG, after=((draw.uniform(0, seconds), signal.SIGKILL),))
                if ended.code == 0:  # It was quicker than the moment; busy machines change their pace.
                    seconds = min(seconds, 1.1 * ended.seconds) if met == 0 else seconds
                    break
                met += ended.code == -signal.SIGKILL
        kills += met
        tally.add(f"killed {('once', 'twice', 'three times')[met - 1]}", finish(out, whole, LONG), trial=trial)
        shutil.rmtree(out)
    return tally, kills


def at_every_call(folder: Path, calls: int, step: int, *actions: int) -> Iterator[tuple[int, Path, Ended, Where]]:
    """A new run for each action at each call that changes a file: the action, the run, how it ended, where that was."""
    for action, nth in itertools.product(actions, range(1, calls + 1, step)):
        out = folder / "every"
        ended = train(out, SHORT, nth=nth, action=action)
        yield action, out, ended, {"nth": nth, "call": ended.call}
        shutil.rmtree(out, ignore_errors=True)


def kills_at_every_call(folder: Path, step: int) -> tuple[Tally, int]:
    """Kill before, and inside or just after, every call that changes a file of the run."""
    tally, whole = Tally(), folder / "whole-short"
    calls = train(whole, SHORT).calls
    for _, out, ended, where in at_every_call(folder, calls, step, KILL_BEFORE, KILL_INSIDE):
        wrong = finish(out, whole, SHORT) if ended.code == -signal.SIGKILL else f"not killed: {ended}"
        call = ended.call.rpartition(" ")[0]
        tally.add(call if call.startswith(("inside ", "after ")) else f"before {call}", wrong, **where)
    return tally, calls


def one_line(ended: Ended, code: int = 2) -> str:
    """Whether an error was one line with the right code; what was wrong, or an empty text."""
    lines = ended.said.strip().splitlines()
    good = ended.code == code and len(lines) == 1 and lines[0].startswith("Error: ")
    return "" if good else f"ended with {ended.code}: {ended.said.strip()[-300:]!r}"


def disk_errors(folder: Path, step: int) -> Tally:
    """From some call on the disk is full or read-only; afterwards there is room again and the run goes on."""
    tally, whole = Tally(), folder / "whole-short"
    kinds = {FULL: os.strerror(errno.ENOSPC), READ_ONLY: os.strerror(errno.EROFS)}
    for action, out, ended, where in at_every_call(folder, train(whole, SHORT).calls, step, *kinds):
        # A temporary file's removal after its renaming has nothing left to do: the run may end well.
        harmless = not ended.call or (ended.call.startswith("remove ") and ended.call.endswith(".partial"))
        wrong = "" if ended.code == 0 and harmless else one_line(ended)
        tally.add(kinds[action], wrong or finish(out, whole, SHORT), **where)
    for kibibytes in (16, 40, 70, 100, 130)[::step] if can_mount() else ():
        tally.add("a real file system that is too small", small_disk(folder, whole, kibibytes), kibibytes=kibibytes)
    return tally


def can_mount() -> bool:
    """Whether this machine lets a user mount a file system in a namespace of its own."""
    call = ["unshare", "-rm", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    return bool(shutil.which(call[0])) and subprocess.run(call, capture_output=True, check=False).returncode == 0


def small_disk(folder: Path, whole: Path, kibibytes: int) -> str:
    """Train on a tmpfs that fills up, make it larger, resume, and compare; what went wrong, or an empty text."""
    out, copy = folder / "mount", folder / "copy"
    out.mkdir(exist_ok=True)
    metaft = [sys.executable, "-m", "metaft", "meta-train", *SETTINGS, "--iterations", str(SHORT), "--out", f"{out}/r"]
    script = (
        f'mount -t tmpfs -o size={kibibytes}k tmpfs {out}; "$@"; echo "code $?"\n'
        f'mount -o remount,size=64m {out}; test -e {out}/r/run.json && again=--resume; "$@" $again; echo "code $?"\n'
        f"cp -a {out}/r {copy}"
    )
    call = ["unshare", "-rm", "sh", "-c", script, "sh", *metaft]
    ended = subprocess.run(call, capture_output=True, text=True, check=False)
    try:
        errors = ended.stderr.strip().splitlines()
        if ended.stdout.split() != ["code", "2", "code", "0"] or len(errors) != 1 or "no space left" not in errors[0]:
            return f"{ended.stdout.split()} {ended.stderr[-400:]!r}"
        return difference(whole, copy)
    finally:
        shutil.rmtree(copy, ignore_errors=True)


def signals(folder: Path, trials: int, seed: int) -> Tally:
    """Ask a run to stop at random moments; a second process, and the lock of a dead one."""
    tally, draw, whole = Tally(), random.Random(seed), folder / "whole"
    seconds = train(whole, LONG).seconds
    for trial in range(trials):
        out, signum = folder / "signal", (signal.SIGTERM, signal.SIGINT)[trial % 2]
        twice, ended = trial % 6 == 5, None
        while ended is None or ended.code == 0:
            shutil.rmtree(out, ignore_errors=True)
            after = ((draw.uniform(0, seconds), signum), *([(0.001, signal.SIGINT)] if twice else []))
            ended = train(out, LONG, after=after)
            seconds = min(seconds, 1.1 * ended.seconds) if ended.code == 0 else seconds
        # Before Python has set its handler, and before ours, a SIGTERM ends a process the conventional way by itself.
        sound = ended.code in (128 + signum, -signum) and "Traceback" not in ended.said
        wrong = "" if sound else f"ended with {ended.code}: {ended.said[-300:]!r}"
        name = f"{signal.Signals(signum).name}{', then again' if twice else ''}: code {128 + signum}"
        tally.add(name, wrong or finish(out, whole, LONG), trial=trial)
        shutil.rmtree(out, ignore_errors=True)
    locks(tally, folder / "locked", whole, seconds)
    return tally


def locks(tally: Tally, out: Path, whole: Path, seconds: float) -> None:
    """A second process while the first is held still; then the lock that the first leaves when it is killed."""
    first = os.fork()
    if first == 0:
        train(out, LONG, after=((seconds / 2, signal.SIGSTOP), (3600, signal.SIGKILL)))
        os._exit(0)
    lock = out / ".lock"
    _until(lambda: lock.exists() and bool(lock.read_text()) and _stopped(lock.read_text()))
    holder = lock.read_text()
    second = train(out, LONG)
    said = "" if f"in use by another process (pid {holder})" in second.said else second.said[-300:]
    tally.add("second process refused: code 2", one_line(second) or said)
    os.kill(int(holder), signal.SIGKILL)
    os.kill(first, signal.SIGKILL)
    os.waitpid(first, 0)
    _until(lambda: not Path(f"/proc/{holder}").exists() or _stopped(holder, "Z"))
    tally.add("lock of a killed process taken over", finish(out, whole, LONG))


def _stopped(pid: str, state: str = "T") -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == state


def _until(happened: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not happened() and time.monotonic() < deadline:
        time.sleep(0.01)
