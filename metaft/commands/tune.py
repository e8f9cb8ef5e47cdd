"""``metaft tune``: a language model by instructions or preferences, in the loop of meta-training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from metaft.assembly.meta_learner import Parts
from metaft.assembly.tuning import build_tuning
from metaft.distributed.place import place
from metaft.errors import MetaftError
from metaft.settings.tune import TuneConfig
from metaft.training.loop import TrainResult, meta_train


def require_one_process(config: TuneConfig) -> None:
    """Refuse several ranks for what one process draws: a rollout, whose minibatches are mixed.

    Args:
        config: the settings.

    Raises:
        MetaftError: if several ranks were started for PPO.
    """
    if place().size > 1 and config.objective.partition(":")[0] == "ppo":
        raise MetaftError("metaft tune --objective ppo draws and updates in one process: leave torchrun out")


def tune(
    config: TuneConfig,
    out: str | Path,
    *,
    command: str | None = None,
    parts: Parts[Any, Any] | None = None,
    **how: Any,
) -> TrainResult:
    """Tune a language model into a run directory; the best weights by validation are kept.

    Args:
        config: the settings.
        out: the run directory.
        command: what to record as the command.
        parts: as ``build_tuning`` made them.
        how: ``resume``, ``overwrite`` and ``progress``, as for ``meta_train``.

    Returns:
        What the run came to.

    Raises:
        MetaftError: as ``meta_train``.
        StoppedRun: as ``meta_train``.
    """
    require_one_process(config)
    made, typed = parts or build_tuning(config), command or f"metaft tune --out {out}"
    return meta_train(
        made.learner, made.train, out=out, validation=made.validation, config=config, command=typed, base=made.base,
        **how,
    )  # fmt: skip
