"""What a finished training came to: iterations, speed, accuracy on training and validation classes, over time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from experiments.meta_learners.plan import Training
from experiments.pages import finite, short_name
from metaft.runs.directory import read_record
from metaft.runs.metrics import read_rows

LAST_ROWS = 5
"""Logged batches at the end of a run over which the score on training tasks is averaged."""


@dataclass(frozen=True)
class Facts:
    """One training, or the means of several seeds.

    Args:
        iterations: meta-updates.
        tasks: training tasks seen.
        seconds: from the first batch to the last update: compilation, validation, logs and checkpoints count.
        training: score on the last training batches after adapting (accuracy from 0 to 1, or squared error).
        validation: best score on validation tasks.
        late: by how much the validation score changed over the second half of the time; None without one in the first.
        curve: ``[points, 2]``, seconds and validation score.
        seed: of the training; None of a mean.
        processor: that it ran on; "" where the run does not say, and of a mean.
        commit: that it ran at, likewise.
    """

    iterations: float
    tasks: float
    seconds: float
    training: float
    validation: float
    late: float | None
    curve: np.ndarray
    seed: int | None = None
    processor: str = ""
    commit: str = ""

    @property
    def speed(self) -> float:
        """Training tasks a second."""
        return self.tasks / self.seconds

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values, so exact that a page made of them is the same again."""
        return {
            **{name: getattr(self, name) for name in ("seed", "processor", "commit")},
            "iterations": round(self.iterations), "tasks": round(self.tasks), "seconds": self.seconds,
            "tasks_per_second": round(self.speed, 1), "training": finite(self.training),
            "validation": finite(self.validation), "late_change": finite(self.late),
            "curve": [[round(time, 4), round(score, 8)] for time, score in self.curve.tolist()],
        }  # fmt: skip

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> Self:
        """What `to_json` gave, to its digits."""
        curve = np.array(entry["curve"], dtype=float).reshape(-1, 2)
        return cls(
            *(entry[name] for name in ("iterations", "tasks", "seconds")),
            *(float("nan") if entry[name] is None else entry[name] for name in ("training", "validation")),
            entry["late_change"], curve, entry["seed"], entry["processor"], entry.get("commit", ""),
        )  # fmt: skip


def facts(training: Training) -> Facts:
    """Read a finished training.

    Args:
        training: which.

    Returns:
        The facts.
    """
    record, rows = read_record(training.folder), read_rows(training.folder / "metrics.jsonl")
    where = record.get("environment", {})
    metric = "mse" if "best_validation_mse" in record else "accuracy"
    logged = {row["iteration"]: row for row in rows if row["kind"] == "train"}
    last = list(logged.values())[-LAST_ROWS:]
    validated = [row for row in rows if row["kind"] == "validation" and row[metric] is not None]
    # A validation comes right after the row of its iteration; the one at the end comes when the time is over.
    times = [logged[i]["seconds"] if (i := row["iteration"]) in logged else record["seconds"] for row in validated]
    curve = np.array([times, [row[metric] for row in validated]], dtype=float).T.reshape(-1, 2)
    return Facts(
        iterations=record["iteration"], tasks=record["iteration"] * record["settings"]["train"]["tasks"],
        seconds=record["seconds"],
        training=float(np.mean([row[f"{metric}_after"] for row in last])) if last else float("nan"),
        validation=record[f"best_validation_{metric}"], late=_late(curve), curve=curve, seed=training.seed,
        processor=short_name(where.get("machine", {}).get("cpu") or ""), commit=where.get("commit") or "",
    )  # fmt: skip


def mean(several: Sequence[Facts]) -> Facts:
    """The means over seeds; the curve at the validations that all of them had.

    Args:
        several: one a seed.

    Returns:
        The means.
    """
    # All but the last are at the same iterations in every seed; the last is where the time was over.
    common = min(len(one.curve) for one in several)
    curve = np.mean([np.concatenate([one.curve[: common - 1], one.curve[-1:]]) for one in several], axis=0)
    numbers = ("iterations", "tasks", "seconds", "training", "validation")
    return Facts(**{name: float(np.mean([getattr(one, name) for one in several])) for name in numbers},
                 late=_late(curve), curve=curve)  # fmt: skip


def _late(curve: np.ndarray) -> float | None:
    """The last score less that at half of the time, if there was a validation by then."""
    if len(curve) < 2 or curve[0, 0] > curve[-1, 0] / 2:
        return None
    half = np.interp(curve[-1, 0] / 2, curve[:, 0], curve[:, 1])
    return float(curve[-1, 1] - half)
