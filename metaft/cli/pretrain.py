"""``metaft pretrain``."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any

import click

from metaft.cli.options import SectionedCommand, run_options, setting_options
from metaft.settings.pretrain import PretrainConfig


class PretrainCommand(SectionedCommand):
    """Its settings are those of pretraining."""

    kind = PretrainConfig


@click.command(
    "pretrain",
    cls=PretrainCommand,
    epilog="Example:  metaft pretrain --dataset omniglot --minutes 8 --out runs/pre-0",
)
@run_options("runs/DATASET-pretrained")
@setting_options(kind=PretrainConfig)
def command(file: str | None, out: str | None, resume: bool, overwrite: bool, quiet: bool, **settings: Any) -> None:
    """Train a classifier of all training classes: the start of feature extraction and of fine-tuning.

    Writes a run directory as meta-train does. Every so often class means of its features are scored on few-shot
    tasks of the validation classes, and the best weights are kept. Ctrl-C stops with a checkpoint, --resume goes on.
    """
    from metaft.cli.summary import show_pretrained, waiting
    from metaft.commands.pretrain import build_pretraining, pretrain
    from metaft.errors import MetaftError
    from metaft.runs.directory import RunDirectory
    from metaft.runs.recorded import recorded_config
    from metaft.runs.resuming import require_same_config
    from metaft.settings.config import load_config

    if resume and file is not None:
        raise MetaftError("--resume goes on with the run's own config.toml; leave out --config")
    config = load_config(file, settings, PretrainConfig)
    folder = Path(out) if out is not None else Path("runs") / f"{config.dataset}-pretrained"
    RunDirectory(folder).check(resume=resume, overwrite=overwrite)
    if resume:
        if not isinstance(recorded_config(folder), PretrainConfig):
            raise MetaftError(f"{folder} was not made by metaft pretrain; go on with it by metaft meta-train --resume")
        config = load_config(folder / "config.toml", settings, PretrainConfig)
        require_same_config(folder, config)
    with waiting(f"preparing {config.dataset} (what was read or drawn once is kept) …", not quiet):
        parts = build_pretraining(config)
    result = pretrain(
        config,
        folder,
        resume=resume,
        overwrite=overwrite,
        progress=not quiet,
        command=shlex.join(["metaft", *sys.argv[1:]]),
        parts=parts,
    )
    if not quiet:
        show_pretrained(result, config, parts.train.outputs)
