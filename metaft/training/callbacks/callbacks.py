"""The callbacks of one run: made, called, and their failures said in one line."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from metaft.distributed.world import World
from metaft.errors import MetaftError, first_line, nearest
from metaft.parts import Asked, convert
from metaft.plugins import call, is_import_path, load_attribute
from metaft.runs import checkpoint
from metaft.settings.callbacks import asked_callbacks
from metaft.tables import CALLBACKS
from metaft.training.callbacks.callback import METHODS, RunView, Stop

log = logging.getLogger("metaft")


class Callbacks:
    """All callbacks of a run. They are called on rank 0 alone, and the other ranks learn of a `Stop`.

    Args:
        given: objects, or texts that name some.
        world: the ranks; every one of them makes these, and calls the same methods.

    Attributes:
        stopped: why the run is to end early; empty while it goes on.

    Raises:
        MetaftError: if one cannot be made, or has no method that would ever be called.
    """

    def __init__(self, given: Sequence[object], world: World) -> None:
        self._world, self._any, self.stopped = world, bool(given), ""
        self._named = [named for one in given for named in _made(one)] if world.first else []
        self._started: list[tuple[str, object]] = []
        self._run: RunView | None = None

    def start(self, run: RunView) -> None:
        """Tell that the run begins, or goes on.

        Args:
            run: what they are to see of it.
        """
        self._run = run
        for named in self._named:
            self._started.append(named)
            self._tell(named, "on_start")

    def update(self, iteration: int, values: Mapping[str, Any]) -> None:
        """Tell of a row of the metrics.

        Args:
            iteration: meta-updates made.
            values: of the row.
        """
        self._tell_all("on_update", iteration, values)

    def validation(self, iteration: int, values: Mapping[str, Any]) -> None:
        """Tell of a validation.

        Args:
            iteration: meta-updates made.
            values: of its row.
        """
        self._tell_all("on_validation", iteration, values)

    def checkpoint(self, iteration: int, path: Path) -> None:
        """Tell of a checkpoint.

        Args:
            iteration: meta-updates made.
            path: its folder.
        """
        self._tell_all("on_checkpoint", iteration, path)

    def end(self, result: object) -> None:
        """Tell those that were told of the start that the run is finished.

        Args:
            result: what it came to.
        """
        while self._started:
            self._tell(self._started.pop(0), "on_end", result)

    def close(self) -> None:
        """Tell those that were not told of the end that the run was stopped or has failed; that error comes first."""
        while self._started:
            try:
                self._tell(self._started.pop(0), "on_end", None)
            except MetaftError as error:
                log.warning("%s", error)

    def _tell_all(self, method: str, iteration: int, what: Any) -> None:
        for named in self._named:
            own = dict(what) if isinstance(what, Mapping) else what
            found = self._tell(named, method, iteration, own)
            if isinstance(found, Stop) and not self.stopped:
                self.stopped = f"ended after iteration {iteration:,} by callback {named[0]!r}: {found.reason}"
        if self._any:
            self.stopped = self._world.from_first(self.stopped.encode()).decode()

    def _tell(self, named: tuple[str, object], method: str, *what: Any) -> Any:
        name, one = named
        if self._run is None or not hasattr(one, method):
            return None
        try:
            found = getattr(one, method)(self._run, *what)
        except Exception as error:
            where = method if method in ("on_start", "on_end") else f"{method} at iteration {what[0]}"
            kept = checkpoint.newest_name(self._run.path / "checkpoints")
            saved = f"the last checkpoint, {kept}, is kept" if kept else "no checkpoint had been made yet"
            said = str(error) if isinstance(error, MetaftError) else f"{type(error).__name__}: {first_line(error)}"
            raise MetaftError(f"callback {name!r} failed in {where}: {said}; {saved}") from error
        if found is not None and not (isinstance(found, Stop) and method not in ("on_start", "on_end")):
            allowed = "nothing" if method in ("on_start", "on_end") else "nothing or a Stop"
            raise MetaftError(f"callback {name!r}: {method} returned {type(found).__name__}; expected {allowed}")
        return found


def _made(given: object) -> list[tuple[str, object]]:
    """Callbacks and what they are called in messages."""
    if not isinstance(given, str):
        return [(_name(given), _checked(_name(given), given))]
    return [(one.name, _checked(one.name, _of_table(one))) for one in asked_callbacks(given)]


def _name(given: object) -> str:
    return given.__name__ if isinstance(given, type) else type(given).__name__


def _of_table(asked: Asked) -> object:
    if not is_import_path(asked.name):
        return CALLBACKS.make(str(asked))
    builder = load_attribute(asked.name)
    if not callable(builder):
        raise MetaftError(
            f"{asked.name} is a {type(builder).__name__}; a callback's class, or a function that makes one, is needed"
        )
    return call(asked.name, builder, convert(f"callback {asked.name!r}", builder, asked.options))


def _checked(name: str, one: object) -> object:
    """Refuse what would never be called."""
    if isinstance(one, type):
        raise MetaftError(f"callback {name!r} is a class; give an object of it: {name}()")
    if any(callable(getattr(one, method, None)) for method in METHODS):
        return one
    similar = [known for known, _ in inspect.getmembers(type(one), callable) if known.startswith("on")]
    hint = f"it has {similar[0]!r}{nearest(similar[0], METHODS)}" if similar else f"known: {', '.join(METHODS)}"
    raise MetaftError(f"callback {name!r} has no method that a run would call; {hint}")
