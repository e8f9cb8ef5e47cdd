"""What the experiment commands share: a run from a settings file, and numbers short enough to commit."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from metaft.assembly.teaching import build_taught
from metaft.evaluation.result import Result
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
    result = meta_train(
        parts.learner, parts.train, out=out, validation=parts.validation, overwrite=True, config=config, command=command
    )
    return config, result


def brief(result: Result) -> dict[str, Any]:
    """A result as JSON without the score of every task."""
    return {key: value for key, value in result.to_json().items() if key not in ("per_task", "diverged_tasks")}


def spread(values: Iterable[float]) -> str:
    """Scores of several seeds as one text: mean and range, in per cent."""
    scores = [100 * value for value in values]
    return f"{sum(scores) / len(scores):.2f} ({min(scores):.2f}–{max(scores):.2f})"
