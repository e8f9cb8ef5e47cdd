"""What plans ask of names and of the run directories that are there."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from metaft.errors import MetaftError, nearest
from metaft.runs.directory import read_record
from metaft.runs.recorded import TRAINERS, checked
from metaft.settings.config import load_config


def chosen_names(known: Iterable[str], text: str | None, what: str) -> list[str]:
    """Names joined by commas, checked; all that are known if none was given.

    Raises:
        MetaftError: naming one that is not known.
    """
    listed = list(known)
    names = listed if text is None else [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in listed:
            raise MetaftError(f"unknown {what} {name!r}{nearest(name, listed)}")
    return names


def state_of(folder: Path) -> str:
    """Of a run directory: "absent", "running", "stopped", "failed" or "finished"."""
    return str(read_record(folder).get("state")) if (folder / "run.json").exists() else "absent"


def require_same(
    folder: Path, command: str, settings: Mapping[str, Any], alike: Callable[[Any], Any] = lambda value: value
) -> None:
    """Refuse a run directory that was begun with other settings; one that is absent is none.

    Args:
        folder: the run directory.
        command: that trains it, such as "meta-train".
        settings: that it is to be trained with, checked here.
        alike: what of a value counts.

    Raises:
        MetaftError: naming the first setting that differs; or if one is unknown or out of range.
    """
    now = checked(command, dict(settings)).model_dump()
    if not (folder / "config.toml").exists():
        return
    was = load_config(folder / "config.toml", None, TRAINERS[command]).model_dump()
    for name in settings:
        if alike(was.get(name)) != alike(now[name]):
            change = f"{name} = {was.get(name)}, and is now to be made with {now[name]}"
            raise MetaftError(f"{folder} was made with {change}; remove it, or give another --runs")
