"""Going on with a run: all that its result depends on stays as it was begun, or the run is refused."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from metaft.errors import MetaftError, printable
from metaft.runs.reading import dig, read_run
from metaft.runs.recorded import recorded_config
from metaft.settings.config import CommandSettings, RunConfig
from metaft.settings.distill import DistillConfig

MAY_CHANGE = ("iterations", "minutes", "patience", "device", "threads", "workers", "checkpoint_every", "callbacks")
"""Settings that a resumed run may be given anew: how long, on what it is computed, and what is told of it."""

OF_A_LINE = ("generations", "patience", "device", "threads", "checkpoint_every", "callbacks")
"""The same of a distillation, whose generations are finished one by one."""


def may_change(kind: type[CommandSettings]) -> tuple[str, ...]:
    """The settings of a command that a resumed run may be given anew.

    Args:
        kind: the command's settings.
    """
    if kind is DistillConfig:
        return OF_A_LINE
    return tuple(dict.fromkeys((*MAY_CHANGE, *OF_A_LINE))) if issubclass(kind, DistillConfig) else MAY_CHANGE


def require_made_by(folder: str | Path, kind: type[CommandSettings]) -> None:
    """Refuse to go on with a run of another command.

    Args:
        folder: the run directory.
        kind: the settings of the command that is to go on with it.

    Raises:
        MetaftError: naming the command that made it.
    """
    made_by = read_run(folder).get("kind", RunConfig.command)
    if made_by != kind.command:
        raise MetaftError(
            f"{folder} was not made by metaft {kind.command} but by metaft {printable(made_by)}; go on with it by the "
            "command that made it"
        )


def require_same_config(folder: str | Path, config: CommandSettings) -> None:
    """Refuse to go on with a run under other settings than it was begun with.

    Args:
        folder: the run directory.
        config: to go on with.

    Raises:
        MetaftError: naming the setting, both values and what to do; or if the run was made by another command.
    """
    require_made_by(folder, type(config))
    before = read_run(folder).get("config")
    if not isinstance(before, dict):  # of an older metaft, which left them to config.toml alone
        if not (Path(folder) / "config.toml").exists():
            return
        before = recorded_config(folder).model_dump()
    now = json.loads(json.dumps(config.model_dump(), default=str))
    require_same(config.renewed(before), now, may_change(type(config)))


def require_same(before: Mapping[str, Any], now: Mapping[str, Any], free: tuple[str, ...], what: str = "") -> None:
    """Refuse the first setting that differs.

    Args:
        before: setting → value, as the run was begun; what an older metaft did not know is passed over.
        now: setting → value, to go on with.
        free: the settings that may differ.
        what: stands before the setting's name in the message, such as ``"learner "``.

    Raises:
        MetaftError: naming it, both values and what to do.
    """
    for name in sorted(before):
        if name in free or (name not in now and before[name] is None):
            continue
        if before[name] != now.get(name):
            raise MetaftError(
                f"the run was begun with {what}{name} = {_word(before[name])}, not {_word(now.get(name))}; only "
                f"{', '.join(free)} may change when resuming: leave {name} as it was, or give another --out"
            )


def require_same_settings(earlier: Mapping[str, Any], settings: Mapping[str, Mapping[str, Any] | None]) -> None:
    """Refuse another learner, other tasks or another way of training than those a run was begun with.

    Args:
        earlier: the run's record.
        settings: "train", "learner", "family" and "validation" → setting → value, as plain JSON.

    Raises:
        MetaftError: as `require_same`; or if the record is damaged.
    """
    known = dig(earlier, "settings")
    for part, values in settings.items():
        if part == "validation" and (not isinstance(known, dict) or part not in known):
            continue  # an older metaft did not write it down
        before = dig(earlier, "settings", part)
        if part == "validation" and (before is None) != (values is None):
            raise MetaftError(
                f"the run was begun {'without' if before is None else 'with'} validation tasks, by which the best "
                "weights are chosen; go on with it likewise, or give another --out"
            )
        if part == "validation" and values is None:
            continue
        if not isinstance(before, dict):
            raise MetaftError(f"run.json is damaged: it does not say with which {part} settings the run was begun")
        free = MAY_CHANGE if part == "train" else ("workers",)
        require_same(before, values or {}, free, f"{part} ")


def _word(value: Any) -> str:
    return printable("none" if value is None else str(value).lower() if isinstance(value, bool) else value)[:200]
