"""Whether a repeated run agrees with its original: the log, the weights, the validation score."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from metaft.evaluation.report import LABELS
from metaft.runs import checkpoint
from metaft.runs.frozen_base import left_out
from metaft.runs.older_names import as_named_now
from metaft.runs.reading import number, printable, read_rows, read_run

MUST_FOLLOW = 1e-6
"""Relative difference of two validation scores that passes for rounding, where there is no interval to go by."""


@dataclass(frozen=True)
class Difference:
    """Two numbers that should have been equal.

    Args:
        where: which ones.
        before: in the run.
        after: in its repetition.
    """

    where: str
    before: float
    after: float

    @property
    def absolute(self) -> float:
        """By how much; not a number where one is missing."""
        return abs(self.before - self.after)

    @property
    def relative(self) -> float:
        """By how much, in units of the larger one; infinite where one is missing."""
        if math.isnan(self.absolute):
            return math.inf
        return self.absolute / max(abs(self.before), abs(self.after), 1e-300)

    def __str__(self) -> str:
        shown = ["none" if math.isnan(value) else f"{value:.9g}" for value in (self.before, self.after)]
        return f"{self.where}: {shown[0]}, repeated {shown[1]}"


@dataclass(frozen=True)
class Agreement:
    """What a repetition came to.

    Args:
        agrees: exactly; or, where that cannot be expected, within the interval of the validation score.
        exact: every row of the log (clock columns aside) and every weight is equal, bit for bit.
        inexact: why bit for bit cannot be expected; empty if it can.
        rows: the largest relative difference in the log, if there is one.
        weights: the largest absolute difference among the weights, if there is one.
        score: the two best validation scores, and how far apart they may be.
        same_tasks: whether both drew the same first task: the same data, in the same way.
    """

    agrees: bool
    exact: bool
    inexact: tuple[str, ...]
    rows: Difference | None
    weights: Difference | None
    score: tuple[Difference, float] | None
    same_tasks: bool

    def lines(self) -> list[str]:
        """The verdict in plain words, the most important first."""
        if self.exact:
            return ["agrees bit for bit: every row of the log (clock columns aside) and every weight is equal"]
        said = ["agrees, not bit for bit" if self.agrees else "DISAGREES"]
        said += [f"cannot be equal bit for bit: {reason}" for reason in self.inexact]
        if not self.same_tasks:
            said.append("the first task of training differs: not the same data, or not drawn in the same way")
        if self.score is not None:
            said.append(f"{self.score[0]} (may differ by {self.score[1]:.3g}: its 95% interval over tasks)")
        if self.rows is not None:
            said.append(f"largest difference in the log: {self.rows} (relative {self.rows.relative:.2g})")
        if self.weights is not None:
            said.append(f"largest difference in the weights: {self.weights}")
        return said


def compare_runs(path: str | Path, repeated: str | Path, inexact: tuple[str, ...]) -> Agreement:
    """Hold a repetition against its original: the log, the weights, the best validation score; of all generations.

    Args:
        path: the run directory of the original.
        repeated: that of the repetition.
        inexact: why bit for bit cannot be expected; empty if it can.

    Returns:
        The agreement.

    Raises:
        MetaftError: if a log or a checkpoint cannot be read.
    """
    generations = sorted(entry.name for entry in Path(path).glob("generation-*"))
    if generations:
        return _together({g: compare_runs(Path(path) / g, Path(repeated) / g, inexact) for g in generations})
    first, second = ([_timeless(row) for row in read_rows(Path(p) / "metrics.jsonl")] for p in (path, repeated))
    rows = max(_row_differences(first, second), key=lambda d: d.relative, default=None)
    before, after = (checkpoint.load_newest(Path(p) / "checkpoints") for p in (path, repeated))
    before = as_named_now(before, after.weights)
    # An older metaft kept the frozen base of a pretrained model.
    before, after = (
        one if one.base else left_out(one, other.base) for one, other in ((before, after), (after, before))
    )
    parts = [(part, getattr(before, part), getattr(after, part)) for part in ("weights", "average", "best")]
    weights = max((d for part in parts for d in _weight_differences(*part)), key=lambda d: d.absolute, default=None)
    same = first == second and before.base == after.base
    same = same and all(one.keys() == other.keys() for _, one, other in parts)
    same = same and all(_same(one[name], other[name]) for _, one, other in parts for name in one)
    score = _scores(first, second)
    digests = [read_run(p).get("first_task_sha256") for p in (path, repeated)]
    same_tasks = None in digests or digests[0] == digests[1]
    close = same_tasks and score is not None and score[0].absolute <= score[1]
    return Agreement(same or (bool(inexact) and close), same, inexact, rows, weights, score, same_tasks)


def _together(found: Mapping[str, Agreement]) -> Agreement:
    """The agreement of all generations: as good as the first that is worst, which is told of."""
    name, worst = min(found.items(), key=lambda entry: (entry[1].agrees, entry[1].exact))
    of = lambda difference: difference and replace(difference, where=f"{name}, {difference.where}")
    score = worst.score and (of(worst.score[0]), worst.score[1])
    return replace(worst, rows=of(worst.rows), weights=of(worst.weights), score=score)


def _timeless(row: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in row.items() if k != "seconds" and not k.endswith("_per_second")}


def _row_differences(first: list[dict[str, Any]], second: list[dict[str, Any]]) -> Iterator[Difference]:
    one, other = ({(r.get("kind"), r.get("iteration")): r for r in rows} for rows in (first, second))
    for key in dict.fromkeys([*one, *other]):
        a, b = one.get(key, {}), other.get(key, {})
        for name in dict.fromkeys([*a, *b]):
            for place, (x, y) in enumerate(_pairs(a.get(name), b.get(name))):
                if x != y and not (math.isnan(x) and math.isnan(y)):
                    step = f" step {place}" if isinstance(a.get(name), list) else ""
                    yield Difference(printable(f"{key[0]} {name}{step} at iteration {key[1]}"), x, y)


def _pairs(a: Any, b: Any) -> Iterator[tuple[float, float]]:
    first, second = (value if isinstance(value, list) else [value] for value in (a, b))
    for place in range(max(len(first), len(second))):
        x, y = (number(values[place]) if place < len(values) else None for values in (first, second))
        yield math.nan if x is None else x, math.nan if y is None else y


def _weight_differences(part: str, one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> Iterator[Difference]:
    for name in one.keys() & other.keys():
        a, b = one[name], other[name]
        if a.shape == b.shape and a.numel() and not torch.equal(a, b):
            at = int((a.double() - b.double()).abs().argmax())
            place = f"{part} {printable(name)}, entry {at}"
            yield Difference(place, float(a.flatten()[at]), float(b.flatten()[at]))


def _same(a: Tensor, b: Tensor) -> bool:
    return a.dtype == b.dtype and torch.equal(a, b)


def _scores(first: list[dict[str, Any]], second: list[dict[str, Any]]) -> tuple[Difference, float] | None:
    """The best validation scores, and the 95% half width of their difference (independent, so on the safe side)."""
    best: list[dict[str, Any]] = [
        next((r for r in reversed(rows) if r.get("kind") == "validation" and r.get("best") is True), {})
        for rows in (first, second)
    ]
    for metric in LABELS:
        a, b = (number(row.get(metric)) for row in best)
        if a is not None and b is not None:
            half = math.hypot(*(number(row.get("ci95")) or 0.0 for row in best))
            return Difference(f"best validation {metric}", a, b), half or MUST_FOLLOW * abs(a)
    return None
