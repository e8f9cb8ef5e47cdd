"""The settings a run was made from, and the command line that makes it again."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from metaft.errors import MetaftError, nearest
from metaft.runs.config import RunConfig, Settings, load_config, to_toml, validated
from metaft.runs.reading import printable, read_bytes, read_json

TRAINERS: dict[str, type[Settings]] = {"meta-train": RunConfig}
"""The commands that make run directories, and the settings each of them takes."""


def recorded_config(path: str | Path) -> tuple[str, Any]:
    """The command and the settings a run was made with; nothing is executed.

    Args:
        path: the run directory.

    Returns:
        A name of `TRAINERS` and its settings.

    Raises:
        MetaftError: if there is no such run, it was not made from settings, or they cannot be read.
    """
    folder = Path(path)
    kind = kind_of(read_json(folder / "run.json"))
    if not (folder / "config.toml").exists():
        raise MetaftError(f"{path} was made from Python and has no config.toml; repeat the script that made it")
    read_bytes(folder / "config.toml", most=2**20)  # An ordinary file of a sensible size.
    return kind, load_config(folder / "config.toml")


def kind_of(record: dict[str, Any]) -> str:
    """Which command makes runs like this one: a name of `TRAINERS`."""
    words = str(record.get("command", "")).split()[1:2]
    return words[0] if words and words[0] in TRAINERS else "meta-train"


def command_words(kind: str, config: Settings) -> list[str]:
    """The shortest command that gives these settings: those that are defaults are left out.

    Args:
        kind: a name of `TRAINERS`.
        config: its settings.

    Returns:
        The words after the program's name.
    """
    values = config.model_dump()
    # Defaults depend on other settings (the data set, the limit), so one is left out only if that changes nothing.
    needed = {name: value for name, value in values.items() if value is not None}
    for name in list(needed):
        fewer = {key: value for key, value in needed.items() if key != name}
        if validated(type(config), fewer).model_dump() == values:
            needed = fewer
    return [kind, *(word for name, value in needed.items() for word in option_words(name, value))]


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


def checked(kind: str, values: dict[str, Any]) -> Settings:
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


def settings_toml(config: Settings) -> str:
    """Settings as a file that the command's ``--config`` takes."""
    assert isinstance(config, RunConfig)
    return to_toml(config)
