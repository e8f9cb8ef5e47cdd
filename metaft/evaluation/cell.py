"""What a comparison consists of: an evaluation of one learner, and a row of a table."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from metaft.evaluation.difference import Difference
from metaft.evaluation.result import Result
from metaft.evaluation.statistics import Spread, Summary

BYTES = 4
"""Of a number, float32."""
EVALUATION = 2
"""Raised whenever equal learners on equal tasks come to other scores than before; 1 said nothing of itself."""


@dataclass(frozen=True, eq=False)
class Cell:
    """One learner of one seed, at one number of shots.

    Args:
        label: the learner's.
        seed: the learner's; None where nothing is random.
        shots: support examples a class (or points).
        tasks_sha256: of the tasks that the learner was given.
        seconds_per_task: to adapt and to answer once, after the last inner step.
        peak_bytes: memory added at the peak, the tasks included; None where it cannot be measured.
        result: the scores.
        origin: the entrant's.
        evaluation: the version of the evaluation that made it.
        answers: to the queries of the first tasks, task by task, as `metaft.evaluation.shown_episodes` keeps them;
            empty where they were not kept.
    """

    label: str
    seed: int | None
    shots: int
    tasks_sha256: str
    seconds_per_task: float
    peak_bytes: int | None
    result: Result
    origin: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    evaluation: int = EVALUATION
    answers: Sequence[Sequence[float | None]] = ()

    @property
    def deterministic(self) -> bool:
        """Whether nothing about the learner is random: neither weights nor a seed, so that it stands for all seeds."""
        return self.seed is None and has_no_randomness(self.result.learner)

    @property
    def scores(self) -> Tensor:
        """``float64 [tasks]``; a diverged regression is NaN."""
        values = self.result.per_task.clone()
        if self.result.metric == "mse":
            values[list(self.result.diverged_tasks)] = torch.nan
        return values

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values, exactly as they will be read back."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        page = {**fields, "origin": dict(self.origin), "result": self.result.to_json()}
        return dict(json.loads(json.dumps(page, allow_nan=False)))

    @classmethod
    def from_json(cls, page: Mapping[str, Any]) -> Cell:
        """What `to_json` gave."""
        return cls(**{"evaluation": 1, **page, "result": Result.from_json(page["result"])})


@dataclass(frozen=True)
class Row:
    """One learner at one number of shots, over all its seeds.

    Args:
        label: the learner's.
        shots: support examples a class (or points).
        score: over tasks, of each task's mean over seeds; a regression's tasks that diverged with any seed are left
            out, a classification's count as wrong where an answer is NaN or +inf. Both are counted.
        seeds: of the seeds' means; None where there are no seeds.
        gap: difference to the baseline on the same tasks, and what its interval ranges over; None for the baseline.
        verdict: "better" or "worse" than the baseline where the gap's 95% interval excludes 0, else ""; of what is
            said by ``gap.about``: "the method", or "these weights" alone.
        mode: "transductive" or "inductive".
        adapts: how many numbers change per task; None if the learner does not say.
        bytes_per_task: of a file that holds them, beside one network for all tasks; None likewise.
        parameters: how many numbers the learner holds.
        seconds_per_task: mean over seeds.
        peak_bytes: the largest over seeds; None where it cannot be measured.
        steps: ``(mean, half width of the 95% interval over tasks)`` after each inner step, means over seeds.
    """

    label: str
    shots: int
    score: Summary
    seeds: Spread | None
    gap: Difference | None
    verdict: str
    mode: str
    adapts: int | None
    bytes_per_task: int | None
    parameters: int
    seconds_per_task: float
    peak_bytes: int | None
    steps: tuple[tuple[float, float], ...]


def record(row: Row, metric: str, **more: Any) -> dict[str, Any]:
    """A row as plain values.

    Args:
        row: of a table.
        metric: of its scores.
        more: what is known of all rows.

    Returns:
        Name → number or text; None where there is no such number.
    """
    gap, seeds = row.gap, row.seeds
    ends = (None, None) if seeds is None else (_finite(seeds.low), _finite(seeds.high))
    worst, best = ends if metric == "accuracy" else ends[::-1]
    return {
        "learner": row.label,
        "shots": row.shots,
        "metric": metric,
        "mean": _finite(row.score.mean),
        "ci95": _finite(row.score.ci95),
        "median": _finite(row.score.median),
        "diverged": row.score.diverged,
        "seeds": 1 if seeds is None else seeds.seeds,
        "worst_seed": worst,
        "best_seed": best,
        "difference": None if gap is None else _finite(gap.mean),
        "difference_ci95": None if gap is None else _finite(gap.ci95),
        "verdict": row.verdict or None,
        "verdict_about": None if gap is None else gap.about,
        "interval_over": None if gap is None else gap.ranges_over,
        "mode": row.mode,
        "adapts": row.adapts,
        "parameters": row.parameters,
        "bytes_per_task": row.bytes_per_task,
        "seconds_per_task": row.seconds_per_task,
        "peak_bytes": row.peak_bytes,
        **more,
    }


def has_no_randomness(told: Mapping[str, Any]) -> bool:
    """Whether a learner says that it holds no weights and no seed.

    Args:
        told: its description, with the ``parameters`` that it holds.

    Returns:
        False too where it does not say how many it holds.
    """
    return told.get("parameters") == 0 and not any(name.endswith("seed") for name in told)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
