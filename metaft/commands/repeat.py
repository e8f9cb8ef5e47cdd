"""Repeating a run from its record, and saying whether the numbers agree."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metaft.commands.agreement import Agreement
from metaft.environment import environment
from metaft.errors import MetaftError
from metaft.plugins import require_trust
from metaft.runs.directory import RunDirectory
from metaft.runs.own_adapters import with_own_adapters
from metaft.runs.reading import dig, number, printable, read_run
from metaft.runs.recorded import command_words, recorded_config
from metaft.runs.resuming import MAY_CHANGE
from metaft.settings.distill import DistillConfig, GenerationConfig


@dataclass(frozen=True)
class Plan:
    """How a run is to be repeated.

    Args:
        words: the command line without the program's name and ``--out``.
        inexact: why its numbers cannot be expected bit for bit; empty if they can.
    """

    words: list[str]
    inexact: tuple[str, ...]


def plan(path: str | Path) -> Plan:
    """How to repeat a finished run, and whether equal numbers can be expected.

    Args:
        path: the run directory.

    Returns:
        The plan.

    Raises:
        MetaftError: if there is no such run, it is not finished, was not made from settings, or names code
            to import that the user has not trusted.
    """
    folder = Path(path)
    record = read_run(folder)
    if record.get("state") != "finished":
        raise MetaftError(
            f"{path} is not finished ({printable(record.get('state'))}); a repetition needs its end: go on with it "
            "by --resume first"
        )
    config = recorded_config(folder)
    if isinstance(config, GenerationConfig):
        parent = folder.parent
        raise MetaftError(f"{path} is one generation of {parent}; repeat them all: metaft repeat {parent}")
    config = with_own_adapters(config, folder)
    values, changed = config.model_dump(), dict[str, Any]()
    for value in values.values():
        if isinstance(value, str):
            require_trust(value)  # The words below count as the user's own.
    inexact = [*_elsewhere(record, environment(), str(values.get("device"))), *_resumed(record, values)]
    if values.get("minutes") is not None and isinstance(config, DistillConfig):
        inexact.append("each generation was limited by minutes")
    elif values.get("minutes") is not None:
        iterations = number(record.get("iteration"))
        if not iterations:
            raise MetaftError(f"{folder / 'run.json'} does not say how many iterations were made")
        changed = {"minutes": None, "iterations": int(iterations)}
        if values.get("schedule") != "constant":
            inexact.append("it was limited by minutes, so its learning rate followed the clock")
    there = number(dig(record, "environment", "machine", "cores"))
    if values.get("workers") == "auto" and there and there != environment()["machine"]["cores"]:
        changed["workers"] = int(there)
    repeated = type(config).model_validate(values | changed) if changed else config
    return Plan(command_words(repeated), tuple(dict.fromkeys(inexact)))


def _resumed(record: Mapping[str, Any], values: Mapping[str, Any]) -> Iterator[str]:
    """What a run was resumed with that may change its numbers."""
    for earlier in record.get("history") or ():
        for name in MAY_CHANGE if isinstance(earlier, dict) else ():
            now = dig(record, "settings", "train", name)
            if name in earlier and name not in ("checkpoint_every", "callbacks") and earlier[name] != now:
                yield f"it was begun with {name} = {printable(earlier[name])} and resumed with {values.get(name)}"


def _elsewhere(record: Mapping[str, Any], here: Mapping[str, Any], device: str) -> Iterator[str]:
    """What differs between the place the run was made in and this one."""
    for part in ("versions", "machine"):
        for name, value in here[part].items():
            there = dig(record, "environment", part, name)
            if there != value and name != "threads":
                yield f"{name} was {printable(there)}, here {printable(value)}"
    commit, ours = dig(record, "environment", "commit"), here["commit"]
    if commit != ours:
        yield f"it was made from commit {printable(commit)}, this is {printable(ours)}"
    elif str(ours).endswith("-dirty"):
        yield f"it was made from changed files (commit {printable(ours)})"
    if device != "cpu" and here["machine"]["accelerator"]:
        yield "a GPU adds in no fixed order"


def note(repeated: str | Path, path: str | Path, found: Agreement) -> None:
    """Write into a repetition's ``run.json`` what it repeats and whether it agrees.

    Args:
        repeated: the run directory of the repetition.
        path: that of the original.
        found: their agreement.
    """
    RunDirectory(repeated).write_record(repeats={"run": Path(path).name, "agrees": found.agrees, "said": found.lines()})
