"""``metaft variance``."""

from __future__ import annotations

import contextlib
import shlex
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from metaft.cli.complete import MODELS
from metaft.cli.completion import words
from metaft.cli.folders import OutFolder
from metaft.cli.options import setting_options
from metaft.settings.defaults import TEXTS
from metaft.tables import CALIBRATIONS

TASKS = ("scheme", "data_root", "split_seed", "min_examples", "split_column")


@click.command(
    "variance",
    epilog="Example:  metaft variance hf:smollm2 --dataset sst2 --patterns review,film --out variance/sst2",
)
@click.argument("model", shell_complete=words(MODELS, files=True))
@click.option(
    "--dataset", default="sst2", show_default=True, metavar="NAME", shell_complete=words(TEXTS),
    help="of texts (see metaft data), perhaps with options: trec:labels=coarse",
)  # fmt: skip
@click.option(
    "--patterns", default="all", show_default=True, metavar="NAME,…",
    help="those of the data set, FILE.toml, or FILE.toml#NAME,…",
)  # fmt: skip
@click.option("--orders", type=int, default=5, show_default=True, metavar="COUNT", help="of the demonstrations")
@click.option("--sets", type=int, default=3, show_default=True, metavar="COUNT", help="support sets, all different")
@click.option("--shots", type=int, default=4, show_default=True, metavar="COUNT", help="demonstrations of each class")
@click.option(
    "--queries", type=int, default=100, show_default=True, metavar="COUNT", help="in all, as many of each class"
)
@click.option(
    "--calibration", "calibrations", multiple=True, default=("contextual",), show_default=True, metavar="NAME",
    shell_complete=words(lambda: ("none", *CALIBRATIONS)),
    help="held against none; may be given several times, or none",
)  # fmt: skip
@click.option(
    "--direction", type=click.Choice(["direct", "channel"]), default="direct", show_default=True,
    help="channel: how probable the input is behind the answer",
)  # fmt: skip
@click.option(
    "--score", type=click.Choice(["sum", "mean"]), default="sum", show_default=True,
    help="of the log-probabilities of several words",
)  # fmt: skip
@click.option("--split", default="test", show_default=True, help="whose texts: train, val or test")
@click.option("--seed", type=int, default=1000, show_default=True, metavar="COUNT", help="of sets, orders and queries")
@click.option("--out", type=OutFolder(), help="folder of the results [default: variance/DATASET]")
@click.option("--resume", is_flag=True, help="go on with what is in --out")
@click.option("--overwrite", is_flag=True, help="replace what is in --out")
@setting_options(*TASKS)
def command(model: str, out: str | None, **options: Any) -> None:
    """Say how far patterns, support sets and orders move the accuracy of MODEL in context.

    The same queries are answered behind every pattern × support set × order of demonstrations. The variance of the
    accuracies is split into what patterns, examples and orders add, and the rest. Calibrations are held against none,
    cell by cell. The folder gets tables (JSON, Markdown) and a box plot. Each finished cell is kept.

    MODEL is hf:smollm2, stories260k, hf:FOLDER with a causal model of Hugging Face, or a run of metaft pretrain
    --objective causal. 'metaft parts calibration' lists calibrations.
    """
    from metaft.cli.screen import print_facts
    from metaft.commands.variance import variance_in
    from metaft.environment import program
    from metaft.evaluation.variance_report import screen

    dataset = str(options["dataset"])
    folder = out or str(Path("variance") / dataset.partition(":")[0])
    with _cells() as progress:
        measured = variance_in(folder, model, progress=progress, **options)
    Console().print(screen(measured))
    own = {"direction": "direct", "score": "sum"}
    more = "".join(f",{name}={options[name]}" for name, usual in own.items() if options[name] != usual)
    learner = f"in-context:backbone={model}{more}"
    leads = ["compare", learner, f"{learner},calibration=contextual,label=calibrated", "--dataset", dataset]
    leads += ["--shots", str(options["shots"])]
    print_facts({"written": folder, "next": f"{program()} {shlex.join(leads)}"})


@contextlib.contextmanager
def _cells() -> Iterator[Callable[[int, int], None]]:
    """Cells done, cells/s and time left: a live line on a terminal, elsewhere a line now and then."""
    from metaft.training.live_line import LiveLine
    from metaft.training.progress import LIVE_EVERY, PLAIN_EVERY

    line, start, due = LiveLine(True), time.perf_counter(), 0.0

    def report(done: int, total: int) -> None:
        nonlocal due
        now = time.perf_counter()
        if now < due and done < total:
            return
        due = now + (LIVE_EVERY if line.live else PLAIN_EVERY)
        speed = done / max(now - start, 1e-9)
        left = f"  {speed:.2g} cells/s  {_clock((total - done) / speed)} left" if done else ""
        line.show(f"{done:,} of {total:,} cells{left}", done / total)

    try:
        yield report
    finally:
        line.close()


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
