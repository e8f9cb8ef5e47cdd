"""``metaft tensorboard``."""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import click

from metaft.errors import MetaftError

LOOK_EVERY = 5.0
"""Seconds between looks for new runs, as TensorBoard's own."""


@click.command("tensorboard", epilog="Example:  metaft tensorboard runs --port 6007")
@click.argument("runs", type=click.Path(), default="runs")
@click.option("--host", default="localhost", show_default=True, help="address to serve on")
@click.option("--port", type=click.IntRange(0, 65535), default=6006, show_default=True, help="port to serve on")
def command(runs: str, host: str, port: int) -> int:
    """Open TensorBoard on RUNS: one run directory or a folder of them (default: runs).

    Time series has the curves, each with what it is, HPARAMS the runs by settings and scores, to filter and sort, and
    CUSTOM SCALARS the losses and scores before and after adapting side by side.
    """
    from metaft.commands.tensorboard import link_event_files

    if next(Path(runs).rglob("events.out.tfevents.*"), None) is None:
        raise MetaftError(f"no TensorBoard log in {runs}; make one with: metaft meta-train")
    with tempfile.TemporaryDirectory(prefix="metaft-tensorboard-") as folder:
        link_event_files(Path(runs), Path(folder))
        call = [sys.executable, "-m", "tensorboard.main", "--logdir", folder, "--host", host, "--port", str(port)]
        call += ["--samples_per_plugin", "images=200"]  # one a validation, not the ten that it keeps otherwise
        call += ["--load_fast=false"]  # its quick reader forgets what a scalar is
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # or TensorBoard and the links would stay
        with subprocess.Popen(call) as served:
            try:
                while True:
                    try:
                        return served.wait(LOOK_EVERY)
                    except subprocess.TimeoutExpired:
                        link_event_files(Path(runs), Path(folder))
            except KeyboardInterrupt:
                served.terminate()
                return 0
