"""``python -m benchmarks.scaling``: tasks a second against ranks, as measured and by the model of docs/scaling.md."""

from __future__ import annotations

import math
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from benchmarks.peers.pip import ROOT
from experiments.pages import render
from metaft.evaluation.report import write_result
from metaft.files import write_atomically
from metaft.runs.metrics import read_rows

MAY_NOT_DRAW = 10**9
COUNTS = (1, 2, 4, 8, 16, 32)


@dataclass(frozen=True)
class Work:
    """A meta-training run.

    Args:
        title: for the page.
        settings: of ``metaft meta-train``.
        tasks: of a meta-batch.
        parameters: meta-parameters.
        iterations: of one measurement.
    """

    title: str
    settings: str
    tasks: int
    parameters: int
    iterations: int


WORKS = {
    "sinusoid": Work("sinusoid, MLP 1-40-40-1, 1 inner step", "--dataset sinusoid", 25, 1_761, 600),
    "conv4": Work("glyphs 5-way 1-shot, Conv4, 1 inner step", "--dataset glyphs --ways 5 --shots 1", 32, 112_261, 24),
}


@dataclass(frozen=True)
class Link:
    """What joins two ranks; nominal figures, not measured ones.

    Args:
        bandwidth: bytes a second, one way.
        latency: seconds a message.
    """

    bandwidth: float
    latency: float


LINKS = {"1 GbE": Link(125e6, 50e-6), "10 GbE": Link(1.25e9, 20e-6), "NVLink 4": Link(450e9, 5e-6)}


def bytes_reduced(parameters: int, tasks: int, ranks: int) -> int:
    """The flat buffer of one iteration: float32 gradients, a loss a task, the clock in two parts, a signal a rank."""
    return 4 * (parameters + tasks + 2 + ranks)


def exchange(size: int, ranks: int, link: Link) -> float:
    """Seconds of a ring all-reduce: 2 (N − 1) messages in a row, each with an N-th of the buffer."""
    return 2 * (ranks - 1) * (link.latency + size / ranks / link.bandwidth)


def predicted(work: Work, fixed: float, per_task: float, ranks: int, link: Link) -> float:
    """Tasks a second on N ranks: the largest share, what every rank does whatever its share, the exchange."""
    share = math.ceil(work.tasks / ranks)
    size = bytes_reduced(work.parameters, work.tasks, ranks)
    return work.tasks / (fixed + share * per_task + (exchange(size, ranks, link) if ranks > 1 else 0.0))


def best_ranks(work: Work, fixed: float, per_task: float, link: Link) -> int:
    """The fewest ranks beyond which the model gets no quicker."""
    speeds = {n: predicted(work, fixed, per_task, n, link) for n in range(1, work.tasks + 1)}
    return max(speeds, key=lambda n: (speeds[n], -n))


def iteration_seconds(work: Work, tasks: int, ranks: int) -> float:
    """Seconds of one meta-update in a run of its own; the first third, in which caches fill, is left out.

    Args:
        work: what to run.
        tasks: of a meta-batch.
        ranks: 0 for a process without torchrun.

    Returns:
        The mean over the rest.
    """
    every = max(1, work.iterations // 6)
    with tempfile.TemporaryDirectory() as folder:
        words = ["-m", "metaft", "meta-train", *work.settings.split(), "--out", f"{folder}/run", "--quiet"]
        words += ["--engine", "eager", "--workers", "1", "--threads", "1", "--device", "cpu", "--tasks", str(tasks)]
        words += ["--iterations", str(work.iterations), "--log-every", str(every), "--validate-tasks", "2"]
        words += ["--validate-every", str(MAY_NOT_DRAW), "--checkpoint-every", str(MAY_NOT_DRAW)]
        torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}"]
        command = [sys.executable, *(torchrun if ranks else []), *words]
        ended = subprocess.run(
            command, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False
        )
        if ended.returncode:
            raise click.ClickException(f"{' '.join(command[1:])} failed:\n{ended.stderr[-2000:]}")
        rows = [row for row in read_rows(f"{folder}/run/metrics.jsonl") if row["kind"] == "train"][2:]
    first, last = rows[0], rows[-1]
    return float(last["seconds"] - first["seconds"]) / (last["iteration"] - first["iteration"])


def measure(work: Work, ranks: int, rounds: int, say: Callable[[str], object]) -> dict[str, Any]:
    """Time a work alone, on half the tasks, and on 1 … N ranks, in turns.

    Args:
        work: what to run.
        ranks: the most.
        rounds: how often each.
        say: told how far it is.

    Returns:
        Seconds an iteration of every round, by kind; and the two numbers of the cost model.
    """
    kinds: dict[str, tuple[int, int]] = {"alone": (work.tasks, 0), "alone, fewer tasks": (max(1, work.tasks // 4), 0)}
    kinds |= {f"{n} rank{'s' if n > 1 else ''}": (work.tasks, n) for n in range(1, ranks + 1)}
    taken: dict[str, list[float]] = {kind: [] for kind in kinds}
    for turn in range(rounds):
        for kind, (tasks, count) in kinds.items():
            taken[kind].append(iteration_seconds(work, tasks, count))
            say(f"  round {turn + 1}, {kind}: {1e3 * taken[kind][-1]:.3g} ms an iteration")
    whole, part = (statistics.median(taken[kind]) for kind in ("alone", "alone, fewer tasks"))
    per_task = max((whole - part) / (work.tasks - kinds["alone, fewer tasks"][0]), 1e-9)
    fixed = max(whole - work.tasks * per_task, 0.0)
    return {"title": work.title, "tasks": work.tasks, "parameters": work.parameters, "seconds": taken,
            "fixed_seconds": fixed, "seconds_per_task": per_task}  # fmt: skip


def page(results: Mapping[str, Mapping[str, Any]], command: str) -> str:
    """The page of results, made of what was measured and of the model's formula.

    Args:
        results: by name of the work, as ``measure`` gives.
        command: that made them.

    Returns:
        Markdown.
    """
    works = [
        (WORKS[name], row, _measured(WORKS[name], row), _expected(WORKS[name], row)) for name, row in results.items()
    ]
    return render("benchmarks/scaling.md.j2", command=command, works=works, counts=[str(n) for n in COUNTS])


def _measured(work: Work, row: Mapping[str, Any]) -> list[list[str]]:
    rates = {kind: [work.tasks / s for s in taken] for kind, taken in row["seconds"].items() if "fewer" not in kind}
    alone, middle = statistics.median(rates["alone"]), {kind: statistics.median(r) for kind, r in rates.items()}
    return [[kind, f"{middle[kind]:,.0f}", f"{min(r):,.0f}–{max(r):,.0f}", f"{middle[kind] / alone:.2f}"]
            for kind, r in rates.items()]  # fmt: skip


def _expected(work: Work, row: Mapping[str, Any]) -> list[list[object]]:
    costs = (row["fixed_seconds"], row["seconds_per_task"])
    return [[name, *(f"{predicted(work, *costs, n, link):,.0f}" for n in COUNTS), best_ranks(work, *costs, link)]
            for name, link in LINKS.items()]  # fmt: skip


@click.command()
@click.argument("works", nargs=-1, type=click.Choice(list(WORKS)), metavar="[WORK]...")
@click.option("--ranks", default=2, show_default=True, type=click.IntRange(1, 64), help="the most to measure")
@click.option("--rounds", default=5, show_default=True, type=click.IntRange(1, 100), help="how often each, in turns")
@click.option("--quick", is_flag=True, help="one round; its numbers are no results and go to runs/benchmarks")
@click.option("--results", type=click.Path(path_type=Path), help="where the page goes  [default: results]")
def main(works: tuple[str, ...], ranks: int, rounds: int, quick: bool, results: Path | None) -> None:
    """Measure tasks a second against ranks. WORK is sinusoid or conv4; both by default."""
    folder = results or Path("runs/benchmarks" if quick else "results")
    words = [*works, *([] if ranks == 2 else ["--ranks", str(ranks)]), *(["--quick"] if quick else [])]
    command = " ".join(["python -m benchmarks.scaling", *words, *([] if rounds == 5 else ["--rounds", str(rounds)])])
    found = {}
    for name in works or WORKS:
        click.echo(name)
        found[name] = measure(WORKS[name], ranks, 1 if quick else rounds, click.echo)
    write_result(folder / "scaling.json", found, command, [0])
    text = page(found, command)
    write_atomically(folder / "scaling.md", text.encode())
    click.echo(text)
    click.echo(f"written to {folder / 'scaling.md'} and scaling.json")


if __name__ == "__main__":
    main()
