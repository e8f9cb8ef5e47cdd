"""What runs there are, how far each has come and how good it is."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from metaft.errors import MetaftError
from metaft.evaluation.report import LABELS, describe_family, format_score
from metaft.runs.own_files import CHECKPOINT
from metaft.runs.reading import dig, entries, in_use, known, number, printable, read_json, read_rows

HEADS = ("run", "state", "progress", "validation", "learner, tasks", "seed", "updated")
STATES = ("running", "stopped", "finished", "failed")
DEPTH = 8
"""Folders below the one given that are looked into."""


@dataclass(frozen=True)
class RunSummary:
    """One run in a few words.

    Args:
        path: its folder.
        state: "running", "stopped", "finished", "failed", "interrupted" (it says running, but no process holds
            it) or "damaged".
        reason: why it failed, or what is damaged.
        iteration: updates made, as far as its files tell.
        iterations: its limit, if it has one.
        seconds: time spent.
        minutes: its limit, if it has one.
        metric: "accuracy", "mse" or "perplexity", if it was validated.
        best: the best validation metric.
        ci95: half width of its 95% interval over tasks.
        learner: the method's name.
        data: the tasks, such as "omniglot train, 5-way 1-shot".
        seed: of the run.
        updated: last change of its files, UTC, ISO 8601.
    """

    path: str
    state: str
    reason: str | None = None
    iteration: int | None = None
    iterations: int | None = None
    seconds: float | None = None
    minutes: float | None = None
    metric: str | None = None
    best: float | None = None
    ci95: float | None = None
    learner: str | None = None
    data: str | None = None
    seed: int | None = None
    updated: str | None = None

    @property
    def progress(self) -> str:
        """How far it has come, of what."""
        if self.iterations is not None:
            return f"{self.iteration or 0:,} of {self.iterations:,}"
        if self.minutes is not None:
            return f"{(self.seconds or 0) / 60:.3g} of {self.minutes:g} min"
        return "–" if self.iteration is None else f"{self.iteration:,}"

    @property
    def score(self) -> str:
        """The best validation score with its interval."""
        return "–" if self.best is None or self.metric is None else score_text(self.best, self.ci95, self.metric)

    def row(self, below: Path) -> list[str]:
        """Cells under `HEADS`, with the path as seen from a folder."""
        where = os.path.relpath(self.path, below)
        what = ", ".join(part for part in (self.learner, self.data) if part) or None
        cells = (where, self.state, self.progress, self.score, what, self.seed, _ago(self.updated))
        return ["–" if cell is None else printable(cell) for cell in cells]


def score_text(mean: float, ci95: float | None, metric: str) -> str:
    """A score with its interval and unit, such as ``98.73 ± 0.24 %``.

    Args:
        mean: of the metric.
        ci95: half width of the 95% interval, if it is known.
        metric: "accuracy", "mse" or "perplexity".
    """
    text = format_score(mean, math.nan if ci95 is None else ci95, metric)
    return f"{text} {'%' if metric == 'accuracy' else metric}"


def list_runs(folder: str | Path) -> list[RunSummary]:
    """All runs in a folder and below, those of sweeps and the generations of distillations included.

    Args:
        folder: where to look; links are not followed.

    Returns:
        One summary a run, by path.

    Raises:
        MetaftError: if there is no such folder.
    """
    if not Path(folder).is_dir():
        raise MetaftError(f"no folder {folder} to look for runs in")
    return [summarise_run(path) for path in _run_folders(Path(folder), DEPTH)]


def summarise_run(path: str | Path) -> RunSummary:
    """Read the state of one run; nothing of it is executed, whatever is damaged is left out.

    Args:
        path: the run folder.

    Returns:
        Its summary.
    """
    folder = Path(path)
    try:
        record = read_json(folder / "run.json")
    except MetaftError as error:
        return RunSummary(str(path), "damaged", error.message, updated=_updated(folder))
    rows = _rows(folder)
    at = [record, *rows, *_checkpoints(folder)]
    metric, best, ci95 = _best(record, rows)
    train, family = entries(record, "settings", "train"), entries(record, "settings", "family")
    limit, seed, learner = (
        number(train.get("iterations")),
        number(train.get("seed")),
        dig(record, "settings", "learner"),
    )
    reason = record.get("reason") if record.get("state") == "failed" else None
    return RunSummary(
        path=str(path),
        state=_state(folder, record),
        reason=None if reason is None else printable(reason),
        iteration=int(max(number(entry.get("iteration")) or 0 for entry in at)),
        iterations=None if limit is None else int(limit),
        seconds=max(number(entry.get("seconds")) or 0 for entry in at),
        minutes=number(train.get("minutes")),
        metric=metric,
        best=best,
        ci95=ci95,
        learner=_text(dig(learner, "learner")),
        data=printable(describe_family(family)) if family else None,
        seed=None if seed is None else int(seed),
        updated=_updated(folder),
    )


def _state(folder: Path, record: dict[str, Any]) -> str:
    if in_use(folder):
        return "running"
    state = record.get("state")
    if state == "running":
        return "interrupted"
    return state if state in STATES else "damaged"


def _best(record: dict[str, Any], rows: list[dict[str, Any]]) -> tuple[str | None, float | None, float | None]:
    """Metric, best value and interval: from the log, which has them while the run goes on; else from the record."""
    newest: dict[str, Any] = next(
        (row for row in reversed(rows) if row.get("kind") == "validation" and row.get("best") is True), {}
    )
    for found, prefix in ((newest, ""), (record, "best_validation_")):
        for metric in LABELS:
            if (value := number(found.get(f"{prefix}{metric}"))) is not None:
                return metric, value, number(found.get("ci95")) if found is newest else None
    return None, None, None


def _run_folders(folder: Path, depth: int) -> Iterator[Path]:
    is_run = (folder / "run.json").is_file()
    if is_run:
        yield folder
    try:
        below = sorted(e.name for e in os.scandir(folder) if e.is_dir(follow_symlinks=False) and e.name[0] != ".")
    except OSError:
        return
    for name in [name for name in below if depth and (not is_run or name.startswith("generation-"))]:
        yield from _run_folders(folder / name, depth - 1)


def _rows(folder: Path) -> list[dict[str, Any]]:
    try:
        return read_rows(folder / "metrics.jsonl")
    except MetaftError:
        return []


def _checkpoints(folder: Path) -> list[dict[str, Any]]:
    files = (folder / "checkpoints").glob("iteration-*/progress.json")
    return [entries(known(file), "progress") for file in files if CHECKPOINT.fullmatch(file.parent.name)]


def _updated(folder: Path) -> str | None:
    files = [folder / name for name in ("run.json", "metrics.jsonl", "checkpoints")]
    try:
        newest = max(file.stat().st_mtime for file in files if file.exists())
        return datetime.fromtimestamp(newest, UTC).isoformat(timespec="seconds")
    except (ValueError, OverflowError, OSError):
        return None


def _ago(when: str | None) -> str | None:
    """How long ago, in the largest unit that says something."""
    if when is None:
        return None
    seconds = (datetime.now(UTC) - datetime.fromisoformat(when)).total_seconds()
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds // size:.0f} {unit} ago"
    return "now"


def _text(value: Any) -> str | None:
    return printable(value) if isinstance(value, str) else None
