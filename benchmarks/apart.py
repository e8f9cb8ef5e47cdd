"""An entrant in a process of its own, as its users run it: no other library is loaded there or sets anything up."""

from __future__ import annotations

import multiprocessing
from functools import partial
from multiprocessing.connection import Connection
from typing import Any

from benchmarks.row import Prepared, attempt
from benchmarks.rows import ROWS
from metaft.errors import MetaftError


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
        self._process = processes.Process(target=serve, args=(row, name, quick, there), name=name, daemon=True)
        self._process.start()
        there.close()
        found = self._answer()
        if isinstance(found, str):
            raise MetaftError(found)
        self.prepared, self.units = found

    def warm_up(self) -> None:
        """Call once, untimed."""
        self._ask(None)

    def time(self, repeats: int) -> float:
        """Seconds a call, by the clock of its process."""
        return float(self._ask(repeats))

    def close(self) -> None:
        """End the process."""
        self._here.close()
        self._process.join()

    def _ask(self, repeats: int | None) -> Any:
        self._here.send(repeats)
        found = self._answer()
        if isinstance(found, str):
            raise RuntimeError(f"{self._process.name}: {found}")
        return found

    def _answer(self) -> Any:
        try:
            return self._here.recv()
        except EOFError:
            self._process.join()
            code = self._process.exitcode
            killed = ": ended by signal 9, which may mean: not enough memory" if code == -9 else f", exit code {code}"
            return f"the process of {self._process.name} is gone{killed}"


def serve(row: str, name: str, quick: bool, there: Connection) -> None:
    """Prepare an entrant and answer until nobody asks: ``None`` warms up, a number is timed; a text is an error.

    Args:
        row: name of the row.
        name: of the entrant.
        quick: for trying it out.
        there: this end of the pipe.
    """
    found = attempt(lambda: ROWS[row].prepare(name, quick))
    if isinstance(found, str):
        there.send(found)
        return
    entrant = found.entrant
    there.send((Prepared(None, found.missing, found.agreement, found.first_order_error, found.flop),
                0 if entrant is None else entrant.units))  # fmt: skip
    while entrant is not None:
        try:
            repeats = there.recv()
        except EOFError:
            return
        there.send(attempt(entrant.warm_up if repeats is None else partial(entrant.time, repeats)))
