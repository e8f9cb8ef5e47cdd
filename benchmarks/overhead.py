"""What checkpoints cost an Omniglot run: ``python -m benchmarks.overhead --results results``.

Two measures: the share of a run's time that is spent in saving, within that run; and the same run with a checkpoint
every 100 iterations against one without, taking turns (A B A B …). Wants a quiet machine.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

import click

from benchmarks.reliability.section import keep, results_option
from metaft.assembly.meta_learner import build
from metaft.settings.config import load_config
from metaft.training import loop

NEVER = 10**9


def run(iterations: int, every: int, engine: str, workers: str, dataset: str) -> tuple[float, float, int]:
    """Train; without validation, which would only make the share smaller.

    Args:
        iterations: of the run.
        every: iterations between checkpoints.
        engine: as ``--engine``.
        workers: as ``--workers``.
        dataset: as ``--dataset``.

    Returns:
        Seconds of the training loop, seconds of it spent in saving, how many checkpoints that were.
    """
    spent, save = [], loop._save

    def timed(*given: object) -> int:
        start = time.perf_counter()
        try:
            return save(*given)  # type: ignore[arg-type]
        finally:
            spent.append(time.perf_counter() - start)

    config = load_config(None, {"dataset": dataset, "iterations": iterations, "checkpoint_every": every,
                                "validate_every": NEVER, "engine": engine, "workers": workers})  # fmt: skip
    parts = build(config)
    loop._save = timed  # type: ignore[assignment]
    try:
        with tempfile.TemporaryDirectory(dir=".", prefix=".overhead-") as folder:
            done = loop.meta_train(parts.learner, parts.train, out=Path(folder) / "r", config=config, progress=False)
    finally:
        loop._save = save
    return done.seconds, sum(spent), len(spent)


@click.command()
@results_option
@click.option("--iterations", default=1000, show_default=True)
@click.option("--turns", default=3, show_default=True)
@click.option("--engine", default="compile", show_default=True)
@click.option("--workers", default="auto", show_default=True)
@click.option("--dataset", default="omniglot", show_default=True)
def main(results: Path | None, iterations: int, turns: int, engine: str, workers: str, dataset: str) -> None:
    """Measure what a checkpoint every 100 iterations costs."""
    run(20, NEVER, engine, workers, dataset)  # compiles, and fills caches
    pairs = []
    for turn in range(turns):
        kept, plain = (run(iterations, every, engine, workers, dataset) for every in (100, NEVER))
        pairs.append((kept, plain))
        print(f"turn {turn}: with {kept[0]:.2f} s, of it saving {kept[1]:.3f} s; without {plain[0]:.2f} s", flush=True)
    shares = [kept[1] / kept[0] for kept, _ in pairs]
    ratios = [kept[0] / plain[0] - 1 for kept, plain in pairs]
    saves = [kept[1] / kept[2] for kept, _ in pairs]
    rows = [("time spent in saving, of the whole run", *_spread(shares, 1e2, " %")),
            ("the run with checkpoints, longer than without", *_spread(ratios, 1e2, " %")),
            ("one checkpoint", *_spread(saves, 1e3, " ms"))]  # fmt: skip
    print(*rows, sep="\n")
    command = (f"python -m benchmarks.overhead --iterations {iterations} --turns {turns} --engine {engine} "
               f"--workers {workers} --dataset {dataset}")  # fmt: skip
    details = {"turns": [{"with": kept, "without": plain} for kept, plain in pairs]}
    keep(results, "overhead", command, rows, details, dataset=dataset, iterations=iterations, turns=turns)


def _spread(values: list[float], scale: float, unit: str) -> tuple[str, str]:
    low, high = min(values) * scale, max(values) * scale
    return f"{statistics.median(values) * scale:.2f}{unit}", f"{low:.2f} to {high:.2f}{unit}"


if __name__ == "__main__":
    main()
