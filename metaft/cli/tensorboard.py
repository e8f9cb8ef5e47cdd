"""``metaft tensorboard``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click

from metaft.errors import MetaftError


@click.command("tensorboard", epilog="Example:  metaft tensorboard runs --port 6007")
@click.argument("runs", type=click.Path(), default="runs")
@click.option("--host", default="localhost", show_default=True, help="address to serve on")
@click.option("--port", type=click.IntRange(0, 65535), default=6006, show_default=True, help="port to serve on")
def command(runs: str, host: str, port: int) -> int:
    """Open TensorBoard on RUNS: one run directory or a folder of them (default: runs)."""
    if next(Path(runs).rglob("events.out.tfevents.*"), None) is None:
        raise MetaftError(f"no TensorBoard log in {runs}; make one with: metaft meta-train")
    call = [sys.executable, "-m", "tensorboard.main", "--logdir", runs, "--host", host, "--port", str(port)]
    call += ["--samples_per_plugin", "images=200"]  # one a validation, not the ten that it keeps otherwise
    try:
        return subprocess.run(call, check=False).returncode
    except KeyboardInterrupt:
        return 0
