"""Real metaft processes that are killed or failed at a chosen moment, and what they leave behind."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

COUNT, KILL_BEFORE, KILL_INSIDE, FULL, READ_ONLY = range(5)
"""What the shim does at the n-th call that changes a file of the run."""

LIMIT = 120.0
"""Seconds after which a child counts as hung."""

SETTINGS = [
    *("--dataset", "sinusoid", "--engine", "eager", "--workers", "1", "--tasks", "4", "--schedule", "cosine"),
    *("--average", "0.9", "--clip", "1", "--log-every", "3", "--validate-every", "5", "--validate-tasks", "6"),
    *("--checkpoint-every", "2", "--quiet"),
]

CLOCK = ("seconds", "tasks_per_second")
"""What a clock says is the only thing that may differ."""


def with_shim(module: str) -> None:
    """Start this program anew with the shim loaded before the C library, unless it is already.

    Args:
        module: the program, as for ``python -m``.
    """
    if hasattr(ctypes.CDLL(None), "faults_arm"):
        return
    library = Path(tempfile.mkdtemp(prefix="metaft-shim-")) / "shim.so"
    source = Path(__file__).with_name("shim.c")
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-o", str(library), str(source), "-ldl"], check=True)
    # The cores are shared with what is measured elsewhere; kills are counted, not timed.
    env = {**os.environ, "LD_PRELOAD": str(library), "OMP_NUM_THREADS": "1"}
    os.execve(sys.executable, [sys.executable, "-m", module, *sys.argv[1:]], env)


def load_everything() -> None:
    """Import what a run needs once; children are forked from here and start at once. No thread may be started."""
    import matplotlib

    matplotlib.use("agg")
    # It tells of each step that it drops, which is what is tested.
    logging.getLogger("tensorboard").setLevel(logging.ERROR)
    from torch.utils.tensorboard import summary  # noqa: F401


@dataclass(frozen=True)
class Ended:
    """How a child ended.

    Args:
        code: its exit code, −signal if one ended it, None if it hung and was killed for that.
        said: its standard error.
        call: the call of the run that was met, such as ``inside write .../metrics.jsonl``; empty if none was.
        calls: how many calls changed a file, where they were counted to the end.
        seconds: how long it took.
    """

    code: int | None
    said: str
    call: str
    calls: int
    seconds: float


def call_metaft(
    arguments: list[str], folder: Path, nth: int = 0, action: int = COUNT, after: tuple[tuple[float, int], ...] = ()
) -> Ended:
    """Run ``metaft`` in a forked child.

    Args:
        arguments: of the command.
        folder: calls that change files below it are counted.
        nth: the call to act at; 0 for none.
        action: what to do there.
        after: (seconds after the one before, signal) to send.

    Returns:
        How it ended.
    """
    told, tell = os.pipe()
    start = time.monotonic()
    with tempfile.TemporaryFile() as errors:
        child = os.fork()
        if child == 0:
            _be_metaft(arguments, folder, nth, action, tell, errors.fileno())
        os.close(tell)
        for delay, signum in after:
            time.sleep(delay)
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signum)
        status = _wait(child, start + LIMIT)
        with os.fdopen(told, "rb") as pipe:
            lines = pipe.read().decode(errors="replace").splitlines()
        errors.seek(0)
        said = errors.read().decode(errors="replace")
    counted = [int(line.split()[1]) for line in lines if line.startswith("calls ")]
    met = [line for line in lines if not line.startswith("calls ")]
    code = None if status is None else os.waitstatus_to_exitcode(status)
    return Ended(code, said, met[0] if met else "", counted[0] if counted else 0, time.monotonic() - start)


def _be_metaft(arguments: list[str], folder: Path, nth: int, action: int, tell: int, errors: int) -> None:
    code = 70
    try:
        os.dup2(errors, 2)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.argv = ["metaft", *arguments]
        shim = ctypes.CDLL(None)
        shim.faults_arm(str(folder).encode(), ctypes.c_long(nth), action, tell)
        try:
            import metaft.cli

            metaft.cli.main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 0
        os.write(tell, f"calls {shim.faults_calls()}\n".encode())
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def _wait(child: int, deadline: float) -> int | None:
    while time.monotonic() < deadline:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return status
        time.sleep(0.005)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


def train(out: Path, iterations: int, **how: Any) -> Ended:
    """Begin the run in ``out``, or go on with it where there is one, as its user would.

    Args:
        out: the run directory.
        iterations: its length.
        how: further arguments of ``call_metaft``.

    Returns:
        How it ended.
    """
    going_on = ["--resume"] if (out / "run.json").exists() else []
    arguments = ["meta-train", *SETTINGS, "--iterations", str(iterations), "--out", str(out), *going_on]
    return call_metaft(arguments, out, **how)


def difference(whole: Path, parts: Path) -> str:
    """What an interrupted run has that an uninterrupted one has not, bit for bit, clocks aside.

    Args:
        whole: the run directory of the uninterrupted run.
        parts: of the one that was killed and resumed.

    Returns:
        The first difference, or an empty text.
    """
    import json

    from metaft.runs import checkpoint

    a, b = (checkpoint.load_newest(out / "checkpoints") for out in (whole, parts))
    for part in checkpoint.PARTS:
        one, other = getattr(a, part), getattr(b, part)
        if one.keys() != other.keys():
            return f"{part}: other names"
        for name, tensor in one.items():
            if tensor.dtype != other[name].dtype or tensor.numpy().tobytes() != other[name].numpy().tobytes():
                return f"{part}: {name}"
    for key in a.progress.keys() - {"seconds", "metrics_offset"}:
        if a.progress[key] != b.progress.get(key):
            return f"progress: {key}"
    for what in (_rows, _curves):
        if (one := what(whole)) != (other := what(parts)):
            return f"{what.__name__.strip('_')}: {len(one)} and {len(other)}"
    if json.loads((parts / "run.json").read_bytes())["state"] != "finished":
        return "not finished"
    left = [p.name for p in parts.rglob(".*") if p.name != ".lock"]
    names = [{p.name for p in out.iterdir()} for out in (whole, parts)]
    return f"left behind: {left[0]}" if left else "" if names[0] == names[1] else "other files"


def _rows(out: Path) -> list[dict[str, Any]]:
    from metaft.runs.metrics import read_rows

    return [{k: v for k, v in row.items() if k not in CLOCK} for row in read_rows(out / "metrics.jsonl")]


def _curves(out: Path) -> dict[str, list[tuple[int, float]]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(out / "tensorboard"), size_guidance={"scalars": 0}).Reload()
    tags = [tag for tag in events.Tags()["scalars"] if not tag.endswith(CLOCK)]
    return {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in tags}


@contextlib.contextmanager
def folder_for_runs() -> Iterator[Path]:
    """A folder on a disk (not in memory), removed afterwards; its path is absolute, as the shim needs it."""
    with tempfile.TemporaryDirectory(prefix="metaft-faults-", dir=os.environ.get("TMPDIR", "/var/tmp")) as name:
        yield Path(name).resolve()
