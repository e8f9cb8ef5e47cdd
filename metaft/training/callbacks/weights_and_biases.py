"""Runs in Weights & Biases."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from metaft.runs.scalars import scalars
from metaft.training.callbacks.callback import RunView, package

NAME = "wandb"


@dataclass
class WeightsAndBiases:
    """A run in Weights & Biases: settings, curves and final scores; a resumed run goes on there.

    Args:
        project: of the run.
        name: of the run; the run directory's if None.
        group: of the run, such as all seeds of a setting.
        entity: the user or team; the account's own if None.
        mode: online, offline or disabled; as WANDB_MODE says if None.
    """

    project: str = "metaft"
    name: str | None = None
    group: str | None = None
    entity: str | None = None
    mode: Literal["online", "offline", "disabled"] | None = None
    _run: Any = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        self._wandb = package("wandb", "wandb", NAME)

    def on_start(self, run: RunView) -> None:
        """Begin a run there, or go on with it."""
        known = run.recall(NAME)
        own = known if known and re.fullmatch(r"\w{1,64}", known) else secrets.token_hex(4)
        self._run = self._wandb.init(
            project=self.project,
            entity=self.entity,
            group=self.group,
            name=self.name or run.path.resolve().name,
            config=dict(run.settings),
            mode=self.mode,
            id=own,
            resume="allow",
            reinit="create_new",  # one that the caller's own program has open stays as it is
            settings=self._wandb.Settings(console="off"),
        )
        # Its own count of steps never goes back, as iterations do that a resumed run makes again.
        self._run.define_metric("*", step_metric="iteration")
        run.remember(NAME, own)

    def on_update(self, run: RunView, iteration: int, values: Mapping[str, Any]) -> None:
        """Add a point to each curve."""
        self._run.log({**dict(scalars("train", values)), "iteration": iteration})

    def on_validation(self, run: RunView, iteration: int, values: Mapping[str, Any]) -> None:
        """Add a point to each curve."""
        self._run.log({**dict(scalars("validation", values)), "iteration": iteration})

    def on_end(self, run: RunView, result: Any) -> None:
        """Add the final scores, and close the run."""
        if self._run is None:
            return
        if result is not None:
            best = {f"best_validation_{result.metric}": result.best, "best_iteration": result.best_iteration}
            self._run.summary.update({name: value for name, value in best.items() if value is not None})
        self._run.finish(exit_code=0 if result is not None else 1)
