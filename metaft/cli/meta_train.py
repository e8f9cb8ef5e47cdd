"""``metaft meta-train``."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any

import click

from metaft.cli.options import SectionedCommand, run_options, setting_options
from metaft.configs import NAMES, find_config


@click.command(
    "meta-train",
    cls=SectionedCommand,
    epilog="Example:  metaft meta-train --dataset omniglot --ways 5 --shots 1 --minutes 10 --out runs/omniglot",
)
@run_options("runs/DATASET-LEARNER", configs=NAMES)
@setting_options()
def command(file: str | None, out: str | None, resume: bool, overwrite: bool, quiet: bool, **settings: Any) -> None:
    """Meta-train a learner: many small tasks, one initialisation that learns each of them in a few steps.

    Writes a run directory with the configuration, metrics (also for TensorBoard) and checkpoints; weights are
    chosen on validation classes only. Ctrl-C stops with a checkpoint, --resume goes on.
    """
    from metaft.assembly.meta_learner import run_config
    from metaft.assembly.teaching import build_taught, check_teacher
    from metaft.cli.summary import show, show_scope, waiting
    from metaft.distributed.place import place
    from metaft.errors import MetaftError
    from metaft.runs.directory import RunDirectory
    from metaft.runs.resuming import require_same_config
    from metaft.settings.config import load_config
    from metaft.training.loop import meta_train
    from metaft.training.ranks import after_restart

    if resume and file is not None:
        raise MetaftError("--resume goes on with the run's own config.toml; leave out --config")
    config = load_config(find_config(file), settings)
    folder = Path(out) if out is not None else Path("runs") / f"{config.dataset}-{config.method}"
    at = place()
    from_config = resume
    resume, overwrite = after_restart(at, folder, resume, overwrite)
    if at.first:
        RunDirectory(folder).check(resume=resume, overwrite=overwrite)
    if from_config:
        run_config(folder)
        config = load_config(folder / "config.toml", settings)
        require_same_config(folder, config)
    check_teacher(config, folder)
    quiet = quiet or not at.first
    with waiting(f"preparing {config.dataset} (what was read or drawn once is kept) …", not quiet):
        parts = build_taught(config)
    if not quiet:
        show_scope(parts.learner)
    result = meta_train(
        parts.learner,
        parts.train,
        out=folder,
        validation=parts.validation,
        resume=resume,
        overwrite=overwrite,
        progress=not quiet,
        config=config,
        command=shlex.join(["metaft", *sys.argv[1:]]),
    )
    if not quiet:
        show(result, config, parts.learner)
