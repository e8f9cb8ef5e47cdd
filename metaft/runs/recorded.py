"""The settings a run was made from, and the command line that makes it again."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from metaft.errors import MetaftError, nearest
from metaft.runs.reading import printable, read_bytes, read_run
from metaft.settings.config import CommandSettings, RunConfig, load_config, validated
from metaft.settings.distill import DistillConfig, GenerationConfig
from metaft.settings.pretrain import PretrainConfig
from metaft.settings.tune import TuneConfig

TRAINERS: dict[str, type[CommandSettings]] = {
    kind.command: kind for kind in (RunConfig, PretrainConfig, DistillConfig, TuneConfig)
}
"""The commands that make run directories, and the settings each of them takes."""

KINDS = TRAINERS | {GenerationConfig.command: GenerationConfig}
"""What a run directory may say it is: a generation is made by the command of the distillation it belongs to."""


def recorded_config(path: str | Path) -> CommandSettings:
    """The settings a run was made with; nothing is executed.

    Args:
        path: the run directory.

    Returns:
        The settings, of the command that they name.

    Raises:
        MetaftError: if there is no such run, it was not made from settings, or they cannot be read.
    """
    folder = Path(path)
    said = read_run(folder).get("kind")
    # Runs made before there was a choice do not say it.
    kind = said if isinstance(said, str) and said in KINDS else RunConfig.command
    if not (folder / "config.toml").exists():
        raise MetaftError(f"{path} was made from Python and has no config.toml; repeat the script that made it")
    read_bytes(folder / "config.toml", most=2**20)  # An ordinary file of a sensible size.
    return load_config(folder / "config.toml", None, KINDS[kind])


def command_words(config: CommandSettings) -> list[str]:
    """The shortest command that gives these settings: those that are defaults are left out.

    Args:
        config: the settings.

    Returns:
        The words after the program's name.
    """
    values = config.model_dump()
    # Defaults depend on other settings (the data set, the limit), so one is left out only if that changes nothing.
    needed = {name: value for name, value in values.items() if value is not None}
    left = len(needed) + 1
    while len(needed) < left:  # again: some can go only after others
        left = len(needed)
        for name in list(needed):
            fewer = {key: value for key, value in needed.items() if key != name}
            if validated(type(config), fewer).model_dump() == values:
                needed = fewer
    return [config.command, *(word for name, value in needed.items() for word in option_words(name, value))]


def command_line(words: list[str], out: str) -> str:
    """The words of a command as one line for a shell.

    Args:
        words: as `command_words`.
        out: the new run directory.

    Returns:
        The line.
    """
    return shlex.join(["metaft", *words, "--out", out])


def option_words(name: str, value: object) -> list[str]:
    """A setting as the command line has it.

    Args:
        name: the setting.
        value: its value; None gives no words.

    Returns:
        Such as ``["--inner-lr", "0.4"]`` or ``["--no-rotations"]``.
    """
    flag = name.replace("_", "-")
    if isinstance(value, bool):
        return [f"--{flag}" if value else f"--no-{flag}"]
    return [] if value is None else [f"--{flag}", str(value)]


def checked(kind: str, values: dict[str, Any]) -> CommandSettings:
    """Settings of a command, checked.

    Args:
        kind: a name of `TRAINERS`.
        values: setting → value.

    Returns:
        The settings.

    Raises:
        MetaftError: for another command, or as ``validated``.
    """
    if kind not in TRAINERS:
        raise MetaftError(f"unknown command {printable(kind)!r}{nearest(kind, TRAINERS)}")
    return validated(TRAINERS[kind], values)
