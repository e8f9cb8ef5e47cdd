"""How much a run survives: ``python -m benchmarks.faults --results results``.

Every trial is a real process. A killed one is resumed as its user would and must end bit for bit equal to a run that
was never interrupted: parameters, Adam, moving average, best so far, random state, metrics and TensorBoard's curves.
"""

from __future__ import annotations

import sys
from pathlib import Path

import click

from benchmarks.reliability.child import folder_for_runs, load_everything, with_shim
from benchmarks.reliability.damage import damaged_and_resumed, damaged_checkpoints
from benchmarks.reliability.section import keep, results_option
from benchmarks.reliability.trials import Tally, disk_errors, kills_at_every_call, kills_at_random, signals

PARTS = ("kills", "files", "damage", "disk", "signals")


@click.command()
@results_option
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
            tally, count = measure(part, folder, kills, step, seed)
        good, tried = sum(tally.equal.values()), sum(tally.tried.values())
        print(f"{part}: {good} of {tried}", flush=True)
        failures += tried - good
        command = f"python -m benchmarks.faults --only {part} --kills {kills} --step {step} --seed {seed}"
        keep(results, part, command, [*tally.rows(), ("all", tried, good)], {"failures": tally.failures}, count=count)
    sys.exit(1 if failures else 0)


def measure(part: str, folder: Path, kills: int, step: int, seed: int) -> tuple[Tally, int]:
    """The counts of one section, and how many kills or calls it was where its note says so."""
    if part == "kills":
        return kills_at_random(folder, kills, seed)
    if part == "files":
        return kills_at_every_call(folder, step)
    if part == "disk":
        return disk_errors(folder, step), 0
    if part == "signals":
        return signals(folder, kills, seed), 0
    tally = damaged_checkpoints(folder, each=400 // step, seed=seed)
    damaged_and_resumed(folder, tally)
    return tally, 0


if __name__ == "__main__":
    main()
