"""How much a run survives: ``python -m benchmarks.faults --results results``.

Every trial is a real process. A killed one is resumed as its user would and must end bit for bit equal to a run that
was never interrupted: parameters, Adam, moving average, best so far, random state, metrics and TensorBoard's curves.
"""

from __future__ import annotations

import sys
from pathlib import Path

import click

from benchmarks.damage import damaged_and_resumed, damaged_checkpoints
from benchmarks.fault_child import folder_for_runs, load_everything, with_shim
from benchmarks.fault_trials import Tally, disk_errors, kills_at_every_call, kills_at_random, signals
from benchmarks.reliability import write_section

PARTS = ("kills", "files", "damage", "disk", "signals")


@click.command()
@click.option("--results", type=click.Path(path_type=Path), default=None, help="folder to write reliability.* into")
@click.option("--only", type=click.Choice(PARTS), multiple=True, help="measure these parts alone")
@click.option("--kills", default=60, show_default=True, help="runs killed at random moments")
@click.option("--step", default=1, show_default=True, help="try every STEP-th call that changes a file")
@click.option("--seed", default=0, show_default=True)
def main(results: Path | None, only: tuple[str, ...], kills: int, step: int, seed: int) -> None:
    """Kill, damage and starve short runs of metaft, and compare how they end."""
    with_shim("benchmarks.faults")
    load_everything()
    failures = 0
    for part in only or PARTS:
        with folder_for_runs() as folder:
            title, heads, tally, note = measure(part, folder, kills, step, seed)
        good, tried = sum(tally.equal.values()), sum(tally.tried.values())
        print(f"{title}: {good} of {tried}", flush=True)
        failures += tried - good
        if results is not None:
            command = f"python -m benchmarks.faults --only {part} --kills {kills} --step {step} --seed {seed}"
            rows = [*tally.rows(), ("all", tried, good)]
            write_section(results, part, title, command, heads, rows, note, {"failures": tally.failures})
    sys.exit(1 if failures else 0)


def measure(part: str, folder: Path, kills: int, step: int, seed: int) -> tuple[str, tuple[str, ...], Tally, str]:
    """One section: its title, its table's heads, the counts, and what was done in words."""
    equal = ("where the process was killed", "runs", "equal bit for bit after resuming")
    if part == "kills":
        tally, count = kills_at_random(folder, kills, seed)
        return (
            "Killed at random moments",
            equal,
            tally,
            f"{count} SIGKILLs at uniformly drawn moments of runs of 40 iterations with a checkpoint every second one; "
            "each run was resumed to its end and compared with an uninterrupted one: parameters, Adam, moving average, "
            "best so far, random state and progress byte by byte, all rows of metrics.jsonl and all points of "
            "TensorBoard's curves (clocks aside), and nothing left behind.",
        )
    if part == "files":
        tally, calls = kills_at_every_call(folder, step)
        return (
            "Killed at every change of a file",
            equal,
            tally,
            f"A whole run of 8 iterations with 4 checkpoints changes its files by {calls} calls of the C library "
            "(open, write, fsync, rename, mkdir, remove, truncate). One run was killed before each of them and one "
            "inside or right after it (of a write, half was written), then resumed and compared as above.",
        )
    if part == "damage":
        tally = damaged_checkpoints(folder, each=400 // step, seed=seed)
        for kind, count in (more := damaged_and_resumed(folder)).tried.items():
            tally.tried[kind], tally.equal[kind] = count, more.equal[kind]
        tally.failures += more.failures
        return (
            "Damaged checkpoints",
            ("damage to a file of the newest checkpoint", "tried", "went on from the one before, saying so"),
            tally,
            "Every file of the newest of two checkpoints was damaged in turn.",
        )
    if part == "disk":
        return (
            "A full or read-only disk",
            ("every call that changes a file fails from some moment on", "runs", "code 2, one line, then equal"),
            disk_errors(folder, step),
            "The call fails as the kernel would make it fail, at every possible moment of a run; the run must end with "
            "code 2 and a single line. Then there is room again, and it must go on to the same end, bit for bit.",
        )
    return (
        "Asked to stop",
        ("what came", "runs", "as it should be, then equal"),
        signals(folder, kills, seed),
        "Signals at random moments of a run: it ends with the conventional code and no traceback, and goes on to the "
        "same end. A second Ctrl-C comes a millisecond after the first and interrupts at once.",
    )


if __name__ == "__main__":
    main()
