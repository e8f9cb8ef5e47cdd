"""What a callback is: an object with any of five methods, which a run calls as it goes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from metaft.errors import MetaftError
from metaft.learners.learner import MetaLearner
from metaft.plain_json import write_json
from metaft.runs.reading import dig, known

METHODS = ("on_start", "on_update", "on_validation", "on_checkpoint", "on_end")
"""A callback has one of these at least:

``on_start(run)``
    before the first update of this process, behind the checkpoint that a resumed run goes on from.
``on_update(run, iteration, values)``
    after every ``log_every`` updates, with the row that goes into the metrics.
``on_validation(run, iteration, values)``
    after every validation, likewise.
``on_checkpoint(run, iteration, path)``
    when a checkpoint is on the disk, with its folder.
``on_end(run, result)``
    once ``on_start`` was called, at the end: with a ``TrainResult``, or None if the run was stopped or has failed.

The middle three may return a `Stop`.
"""

MEMORY = "callbacks.json"
"""What callbacks keep of one process for the next, in the run directory."""


@dataclass(frozen=True)
class Stop:
    """Returned by a callback to end the run after this iteration, as early stopping does.

    Args:
        reason: why; shown, and kept in ``run.json``.
    """

    reason: str


@dataclass(frozen=True)
class RunView:
    """What a callback sees of a run.

    Args:
        path: the run directory.
        iteration: meta-updates made when this process began; 0 for a new run.
        settings: name → value, as in TensorBoard's table of settings.
        metric: what validation measures, such as "accuracy".
        learner: what is trained, with its latest weights.
    """

    path: Path
    iteration: int
    settings: Mapping[str, Any]
    metric: str
    learner: MetaLearner

    def recall(self, name: str) -> str | None:
        """What was kept under a name, in this process or one that the run goes on from.

        Args:
            name: the callback's.
        """
        found = dig(known(self.path / MEMORY), name)
        return found if isinstance(found, str) else None

    def remember(self, name: str, value: str) -> None:
        """Keep a text for the process that resumes this run.

        Args:
            name: the callback's.
            value: such as the id of a run elsewhere.
        """
        write_json(self.path / MEMORY, known(self.path / MEMORY) | {name: value})


def package(name: str, wheel: str, whose: str) -> Any:
    """Import a package that only one callback needs.

    Args:
        name: of the package.
        wheel: what pip calls it.
        whose: the callback's name.

    Returns:
        The module.

    Raises:
        MetaftError: if it is not installed.
    """
    try:
        return import_module(name)
    except ImportError:
        raise MetaftError(f"callback {whose!r} needs a package: pip install {wheel}") from None
