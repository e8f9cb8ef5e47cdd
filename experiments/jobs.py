"""Programs of one core that fill folders, side by side, resumed and stopped together; sweeps and comparisons."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from metaft.commands.compare.compare import CELLS, read_cells
from metaft.commands.sweep.processes import Job, Watch, last_line, run_jobs
from metaft.commands.sweep.record import RECORD, Sweep
from metaft.commands.sweep.sweep import sweep
from metaft.evaluation.comparison import Cell
from metaft.files import write_atomically
from metaft.training.stopping import StoppedRun


def program(name: str, words: Sequence[str], folder: Path, held: Path | None = None) -> Job:
    """A metaft command that ends when this process does.

    Args:
        name: for reports.
        words: of the command.
        folder: that it fills; its output goes to a log beside that.
        held: a run directory that must be free of other processes.
    """
    return Job(name, ("-m", "metaft.commands.sweep.member", str(os.getpid()), *words), log_of(folder), held)


def compare_words(
    specs: Mapping[str, str], folder: Path, *options: str, seeds: str, shots: Sequence[int], tasks: int
) -> list[str]:
    """``metaft compare`` into a folder, or going on with it.

    Args:
        specs: the learners by label.
        folder: of the comparison.
        options: on which data, and how.
        seeds: as ``--seeds``.
        shots: numbers of support examples a class.
        tasks: how many at each of them.

    Returns:
        The words of the command.
    """
    learners = [f"{spec}{',' if ':' in spec else ':'}label={label}" for label, spec in specs.items()]
    again = ["--resume"] if (folder / CELLS).exists() else []
    return ["compare", *learners, *options, "--shots", ",".join(map(str, shots)), "--tasks", str(tasks),
            "--seeds", seeds, "--out", str(folder), *again]  # fmt: skip


def cells_in(folder: Path) -> list[Cell]:
    """The evaluations of a comparison; none where it was not begun."""
    return read_cells(folder / CELLS) if (folder / CELLS).exists() else []


def swept(grid: Mapping[str, Any], folder: Path, at_once: int) -> Sweep:
    """Try a grid of settings by ``metaft sweep``, which goes on where it was begun.

    Args:
        grid: as the sweep's TOML file says it; tables last.
        folder: of the sweep; the file is written beside it.
        at_once: programs side by side.

    Returns:
        What it came to.
    """
    resumed, file = (folder / RECORD).exists(), folder.with_suffix(".toml")
    lines = []
    for name, value in grid.items():
        lines += [f"[{name}]"] if isinstance(value, Mapping) else []
        rows = value if isinstance(value, Mapping) else {name: value}
        lines += [f"{key} = {json.dumps(one, ensure_ascii=False)}" for key, one in rows.items()]
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(file, "\n".join(lines).encode())
    return sweep(None if resumed else file, folder, at_once, resume=resumed)


def keep(folder: Path, results: Path, name: str) -> None:
    """Copy a comparison's table and pictures."""
    text = (folder / "comparison.md").read_text(encoding="utf-8")
    for kind in ("shots", "time"):
        picture = f"against_{kind}.png"
        if (folder / picture).exists():
            shutil.copy(folder / picture, results / f"{name}-{kind}.png")
            text = text.replace(picture, f"{name}-{kind}.png")
    write_atomically(results / f"{name}.md", text.encode())
    shutil.copy(folder / "comparison.json", results / f"{name}.json")


def metaft(*words: str) -> None:
    """Run a command as a user would, shown before it runs."""
    click.echo("metaft " + " ".join(words))
    subprocess.run([sys.executable, "-m", "metaft", *words], check=True)


def log_of(folder: Path) -> Path:
    """The output of the program that fills a folder."""
    return folder.parent / "logs" / f"{folder.name}.log"


def work(jobs: Sequence[Job], at_once: int) -> None:
    """Run programs, saying when each starts and which fail.

    Args:
        jobs: the programs.
        at_once: how many side by side.

    Raises:
        StoppedRun: if asked to stop; what runs is saved first.
    """
    # A compilation from nothing for every seed: their times could not be compared otherwise.
    os.environ["TORCHINDUCTOR_FORCE_DISABLE_CACHES"] = "1"
    if signum := run_jobs(jobs, at_once, Report(len(jobs))):
        raise StoppedRun("stopped, all is kept; the same command goes on", signum)


class Report(Watch):
    """Says what goes on, a line each.

    Args:
        total: how many jobs there are.
    """

    def __init__(self, total: int) -> None:
        self.total, self.count, self.start = total, 0, time.monotonic()

    def started(self, job: Job) -> None:
        """A job runs now."""
        self.count += 1
        click.echo(f"[{self.count}/{self.total}, {(time.monotonic() - self.start) / 60:.1f} min] {job.name}")

    def ended(self, job: Job, code: int) -> None:
        """A failure is said at once; the others go on."""
        if code:
            click.echo(f"failed: {job.name}: {last_line(job.log) or f'exit code {code}'}")
