"""An entrant in a process of its own, as its users run it: no other library is loaded there or sets anything up."""

from __future__ import annotations

import contextlib
import gc
import multiprocessing
from dataclasses import replace
from functools import partial
from multiprocessing.connection import Connection
from typing import Any

from benchmarks.memory.probe import trim
from benchmarks.peers.entrants import OURS
from benchmarks.speed.row import attempt
from benchmarks.speed.rows import ROWS
from metaft.allocator import keep_freed_memory
from metaft.errors import MetaftError

PATIENCE = 10.0
"""Seconds that a process has to end by itself."""


class Apart:
    """The timer of an entrant that lives in another process; it waits while others have their turn.

    Args:
        row: name of the row.
        name: of the entrant.
        quick: for trying it out.

    Raises:
        MetaftError: if it could not be set up.
    """

    def __init__(self, row: str, name: str, quick: bool) -> None:
        processes = multiprocessing.get_context("spawn")
        self._here, there = processes.Pipe()
        self.process = processes.Process(target=serve, args=(row, name, quick, there), name=name, daemon=True)
        self.process.start()
        there.close()
        try:
            self.prepared, self.units = self._answer()
        except MetaftError:
            self.close()
            raise

    def warm_up(self) -> None:
        """Call once, untimed."""
        self._ask(None)

    def time(self, repeats: int) -> float:
        """Seconds a call, by the clock of its process.

        Raises:
            MetaftError: if it fails, or the process is gone.
        """
        return float(self._ask(repeats))

    def close(self) -> None:
        """End the process."""
        self._here.close()
        self.process.join(PATIENCE)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()

    def _ask(self, repeats: int | None) -> Any:
        with contextlib.suppress(OSError):  # a process that is gone does not answer either
            self._here.send(repeats)
        return self._answer()

    def _answer(self) -> Any:
        try:
            found = self._here.recv()
        except (EOFError, OSError):
            self.process.join(PATIENCE)
            code = self.process.exitcode
            why = "ended by signal 9, which may mean: not enough memory" if code == -9 else f"exit code {code}"
            raise MetaftError(f"its process is gone: {why}") from None
        if isinstance(found, str):
            raise MetaftError(found)
        return found


def serve(row: str, name: str, quick: bool, there: Connection) -> None:
    """Prepare an entrant and answer until nobody asks: ``None`` warms up, a number is timed; a text is an error.

    Args:
        row: name of the row.
        name: of the entrant.
        quick: for trying it out.
        there: this end of the pipe.
    """
    if name in OURS:  # as every command of metaft does before anything else
        keep_freed_memory()
    found = attempt(lambda: ROWS[row].prepare(name, quick))
    if isinstance(found, str):
        there.send(found)
        return
    gc.collect()
    trim()  # what the check took is nothing that its users have
    entrant = found.entrant
    there.send((replace(found, entrant=None), 0 if entrant is None else entrant.units))
    while entrant is not None:
        try:
            repeats = there.recv()
        except EOFError:
            return
        there.send(attempt(entrant.warm_up if repeats is None else partial(entrant.time, repeats)))
