"""A run from a settings file of this folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from metaft.assembly.teaching import build_taught
from metaft.settings.config import RunConfig, load_config
from metaft.training.loop import TrainResult, meta_train

HERE = Path(__file__).parent


def train(settings: str, out: Path, command: str, **overrides: Any) -> tuple[RunConfig, TrainResult]:
    """Meta-train as a settings file of this folder says.

    Args:
        settings: its name, without ``.toml``.
        out: the run directory; an older run there is replaced.
        command: what to record as the command.
        overrides: settings that differ from the file's; None means as in the file.

    Returns:
        The settings used, and what the run came to.
    """
    config = load_config(HERE / f"{settings}.toml", overrides)
    parts = build_taught(config)
    how = {"validation": parts.validation, "overwrite": True, "config": config, "command": command}
    return config, meta_train(parts.learner, parts.train, out=out, **how)
