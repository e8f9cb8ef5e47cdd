"""Runs in MLflow."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from metaft.runs.scalars import scalars
from metaft.training.callbacks.callback import RunView, package

NAME = "mlflow"
LONGEST = 500
"""Characters of a setting's value that every server takes."""
AT_ONCE = 100
"""Settings in one request."""


@dataclass
class MlflowRun:
    """A run in MLflow: settings, curves and final scores; a resumed run goes on there.

    Args:
        experiment: that the run belongs to.
        name: of the run; the run directory's if None.
        uri: of the tracking server; as MLFLOW_TRACKING_URI says if None.
    """

    experiment: str = "metaft"
    name: str | None = None
    uri: str | None = None
    _client: Any = field(default=None, init=False, repr=False)
    _id: str = field(default="", init=False, repr=False)

    def __post_init__(self) -> None:
        self._mlflow, self._entities = (package(name, "mlflow-skinny", NAME) for name in ("mlflow", "mlflow.entities"))

    def on_start(self, run: RunView) -> None:
        """Begin a run there, or go on with it."""
        # A client has no run that is open everywhere in the process, as the module's own functions have.
        self._client = self._mlflow.MlflowClient(tracking_uri=self.uri)
        if (known := run.recall(NAME)) and re.fullmatch(r"\w{1,64}", known):
            self._id = known
            self._client.update_run(self._id, status="RUNNING")
            return
        found = self._client.get_experiment_by_name(self.experiment)
        experiment = found.experiment_id if found else self._client.create_experiment(self.experiment)
        name = self.name or run.path.resolve().name
        self._id = self._client.create_run(experiment, run_name=name).info.run_id
        run.remember(NAME, self._id)
        told = [(n, str(value)) for n, value in run.settings.items() if value is not None]
        params = [self._entities.Param(n, value[:LONGEST]) for n, value in told]
        for first in range(0, len(params), AT_ONCE):
            self._client.log_batch(self._id, params=params[first : first + AT_ONCE])

    def on_update(self, run: RunView, iteration: int, values: Mapping[str, Any]) -> None:
        """Add a point to each curve."""
        self._log(iteration, dict(scalars("train", values)))

    def on_validation(self, run: RunView, iteration: int, values: Mapping[str, Any]) -> None:
        """Add a point to each curve."""
        self._log(iteration, dict(scalars("validation", values)))

    def on_end(self, run: RunView, result: Any) -> None:
        """Add the final scores, and close the run."""
        if not self._id:
            return
        if result is not None and result.best is not None:
            self._log(result.iterations, {f"best_validation_{result.metric}": result.best})
        self._client.set_terminated(self._id, "FINISHED" if result is not None else "FAILED")

    def _log(self, iteration: int, numbers: Mapping[str, float]) -> None:
        now = int(time.time() * 1000)
        finite = {name: float(value) for name, value in numbers.items() if math.isfinite(value)}
        points = [self._entities.Metric(name, value, now, iteration) for name, value in finite.items()]
        self._client.log_batch(self._id, metrics=points)
