"""``metaft distill``."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any

import click

from metaft.cli.options import SectionedCommand, run_options, setting_options
from metaft.settings.distill import DistillConfig


class DistillCommand(SectionedCommand):
    """Its settings are those of distillation."""

    kind = DistillConfig


@click.command(
    "distill",
    cls=DistillCommand,
    epilog="Example:  metaft distill --dataset mnist --temperature 1,4,20 --generations 2 --out runs/mnist",
)
@run_options("runs/DATASET-distilled", resume="in the generation it was in", overwrite=", with all its generations")
@setting_options(kind=DistillConfig)
def command(file: str | None, out: str | None, resume: bool, overwrite: bool, quiet: bool, **settings: Any) -> None:
    """Train a classifier on labels, then each next generation from the soft labels of the one before it.

    Writes a run directory with one run a generation, chosen on validation data; test data are scored once, at the
    end. --teacher RUN begins from a run of metaft pretrain or metaft distill. Ctrl-C stops with a checkpoint,
    --resume goes on to the same end.
    """
    from metaft.cli.distill_summary import say, show_report
    from metaft.cli.summary import waiting
    from metaft.commands.distill.distill import distill, prepare
    from metaft.errors import MetaftError
    from metaft.runs.directory import RunDirectory
    from metaft.runs.recorded import recorded_config
    from metaft.runs.resuming import require_same_config
    from metaft.settings.config import load_config

    if resume and file is not None:
        raise MetaftError("--resume goes on with the run's own config.toml; leave out --config")
    config = load_config(file, settings, DistillConfig)
    folder = Path(out) if out is not None else Path("runs") / f"{config.dataset}-distilled"
    RunDirectory(folder).check(resume=resume, overwrite=overwrite)
    if resume:
        if recorded_config(folder).command != config.command:
            raise MetaftError(f"{folder} was not made by metaft distill; go on with it by the command that made it")
        config = load_config(folder / "config.toml", settings, DistillConfig)
        require_same_config(folder, config)
    with waiting(f"preparing {config.dataset} (what was read or drawn once is kept) …", not quiet):
        prepared = prepare(config)
    report = distill(
        config,
        folder,
        resume=resume,
        overwrite=overwrite,
        progress=not quiet,
        command=shlex.join(["metaft", *sys.argv[1:]]),
        prepared=prepared,
        watch=say if not quiet else lambda text: None,
    )
    if not quiet:
        show_report(report)
