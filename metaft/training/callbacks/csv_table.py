"""``metrics.csv``: the rows of the metrics as a table."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from metaft.files import clear_disk_errors, write_atomically
from metaft.plain_json import finite
from metaft.runs.reading import read_rows
from metaft.training.callbacks.callback import RunView

FILE = "metrics.csv"


@dataclass
class CsvTable:
    """A file metrics.csv beside metrics.jsonl, one row for each of its rows."""

    columns: list[str] = field(default_factory=list, init=False)

    def on_start(self, run: RunView) -> None:
        """Write what the run has logged so far: a resumed run's columns and rows are those that it was stopped with."""
        self._write_all(run)

    def on_update(self, run: RunView, iteration: int, values: Mapping[str, Any]) -> None:
        """Add a row."""
        self._add(run, "train", iteration, values)

    def on_validation(self, run: RunView, iteration: int, values: Mapping[str, Any]) -> None:
        """Add a row."""
        self._add(run, "validation", iteration, values)

    def _add(self, run: RunView, kind: str, iteration: int, values: Mapping[str, Any]) -> None:
        row = _flat({"kind": kind, "iteration": iteration, **values})
        if not {*row} <= {*self.columns}:  # the row is in metrics.jsonl already
            self._write_all(run)
            return
        with clear_disk_errors(str(run.path / FILE)), open(run.path / FILE, "a", encoding="utf-8", newline="") as file:
            self._writer(file).writerow(row)

    def _write_all(self, run: RunView) -> None:
        rows = [_flat(row) for row in read_rows(run.path / "metrics.jsonl")]
        self.columns = list(dict.fromkeys(["kind", "iteration", *(name for row in rows for name in row)]))
        text = io.StringIO(newline="")
        writer = self._writer(text)
        writer.writeheader()
        writer.writerows(rows)
        write_atomically(run.path / FILE, text.getvalue().encode())

    def _writer(self, file: Any) -> csv.DictWriter[str]:
        return csv.DictWriter(file, self.columns, lineterminator="\n")


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    """One value a column; numbers of inner steps have one column each."""
    found: dict[str, Any] = {}
    for name, value in finite(row).items():
        entries = {f"{name}_{step}": entry for step, entry in enumerate(value)} if isinstance(value, list) else {}
        found |= entries or {name: str(value).lower() if isinstance(value, bool) else value}
    return found
