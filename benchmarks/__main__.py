"""``python -m benchmarks [ROW ...] [--quick]``: set up the peers, check, measure, write the pages."""

from __future__ import annotations

import json
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import click

from benchmarks.memory import page as memory
from benchmarks.memory import quantised
from benchmarks.peers import environment as peers
from benchmarks.peers import pip
from benchmarks.speed import report
from benchmarks.speed.rows import ROWS
from metaft.errors import MetaftError
from metaft.evaluation.report import write_result
from metaft.files import write_atomically

CHOICES = [*ROWS, "memory", "quantised"]


HELP = f"""Measure metaft beside learn2learn, higher, TorchOpt and JAX.

ROW is one or more of {", ".join(CHOICES)}; all when none is named. Rows measured earlier stay in the table.
"""


@click.command(help=HELP)
@click.argument("rows", nargs=-1, type=click.Choice(CHOICES), metavar="[ROW]...")
@click.option("--quick", is_flag=True, help="a trial of minutes; its numbers are no results and go to runs/benchmarks")
@click.option("--results", type=click.Path(path_type=Path), help="where the pages go  [default: results]")
def main(rows: tuple[str, ...], quick: bool, results: Path | None) -> None:
    """As ``HELP`` says."""
    folder = results or Path("runs/benchmarks" if quick else "results")
    folder.mkdir(parents=True, exist_ok=True)
    command = " ".join(["python -m benchmarks", *rows, *(["--quick"] if quick else [])])
    missing = peers.ready(click.echo)
    speed = [name for name in rows or CHOICES if name in ROWS]
    failed = []
    for name in speed:
        if (found := measure(name, quick)) is not None:
            write_speed({name: found}, missing, folder, command)
        else:
            failed.append(name)
    if len(failed) < len(speed):
        click.echo(f"written to {folder / 'speed.md'} and speed.json")
        click.echo((folder / "speed.md").read_text(encoding="utf-8").partition("\n## ")[0])
    if "memory" in (rows or CHOICES):
        click.echo("memory")
        probes = memory.measure(peers.python(), quick, click.echo)
        memory.write(probes, folder, quick, command)
        click.echo(f"written to {folder / 'memory.md'}, memory.json and memory.png")
    if "quantised" in (rows or CHOICES):
        click.echo("quantised")
        quantised.write(quantised.measure(click.echo), folder, command)
        click.echo(f"written to {folder / 'quantised.md'} and quantised.json")
    if failed:
        raise MetaftError(f"not measured, for the reasons above: {', '.join(failed)}")


def measure(name: str, quick: bool) -> dict[str, Any] | None:
    """Measure one row in a process of the peers' environment.

    Args:
        name: of the row.
        quick: for trying it out.

    Returns:
        What ``benchmarks.speed.measure.measure`` found there, None if it failed: it has said why.
    """
    click.echo(name)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "row.json"
        words = ["-m", "benchmarks.speed.measure", name, str(file), *(["--quick"] if quick else [])]
        code = subprocess.run([str(peers.python()), *words], cwd=pip.ROOT).returncode
        if code < 0:
            click.echo(f"  the process was ended by {signal.Signals(-code).name}; SIGKILL may mean: not enough memory")
        return None if code else dict(json.loads(file.read_text(encoding="utf-8")))


def write_speed(rows: dict[str, dict[str, Any]], missing: dict[str, str], folder: Path, command: str) -> None:
    """Write ``speed.json`` and ``speed.md``; rows measured earlier stay.

    Args:
        rows: what was measured now.
        missing: peers that could not be installed, and why.
        folder: where to.
        command: to record.
    """
    file = folder / "speed.json"
    earlier = json.loads(file.read_text(encoding="utf-8"))["results"] if file.exists() else {}
    known = earlier | {name: row | {"command": command} for name, row in rows.items()}
    ordered = {name: known[name] for name in ROWS if name in known}
    write_result(file, ordered, command, [0], {"missing": missing})
    write_atomically(folder / "speed.md", report.page(ordered, missing).encode())


if __name__ == "__main__":
    main()
