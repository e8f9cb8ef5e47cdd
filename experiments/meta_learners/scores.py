"""What a method scored on test tasks, its seeds together: from the cells of a comparison, or as a page told before."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any, Self

from experiments.pages import finite
from metaft.errors import MetaftError
from metaft.evaluation.comparison import Cell, Comparison
from metaft.evaluation.statistics import Summary

_NAME = re.compile(r"(?P<suite>\S+) (?P<shots>\d+) shots: (?P<key>\S+) (?P<mode>.+)")


@dataclasses.dataclass(frozen=True)
class Scored:
    """One method in one mode of batch norm at one number of shots.

    Args:
        suite: the test tasks.
        key: the method's.
        mode: "transductive" or "inductive", and whose statistics those are where that is neither the support set nor
            the task.
        shots: support examples a class (or points).
        seeds: of the trainings.
        steps: by seed, a summary over tasks after each inner step.
        score: over tasks, of each task's mean over seeds.
        bound: whether the interval of `score` is only known not to be wider, see `together`.
        ms_per_task: to adapt and to answer once, the mean over seeds.
        adapts: how many numbers change per task; None if the learner does not say.
        parameters: how many numbers the learner holds.
        tasks_sha256: of the test tasks.
    """

    suite: str
    key: str
    mode: str
    shots: int
    seeds: tuple[int, ...]
    steps: tuple[tuple[Summary, ...], ...]
    score: Summary
    bound: bool
    ms_per_task: float
    adapts: int | None
    parameters: int
    tasks_sha256: str

    @property
    def name(self) -> str:
        """For the page's JSON: ``20-way 1 shots: maml transductive``."""
        return f"{self.suite} {self.shots} shots: {self.key} {self.mode}"

    @property
    def tasks(self) -> int:
        """How many test tasks there were."""
        return self.score.count + self.score.diverged

    @property
    def means(self) -> list[float]:
        """Over tasks after the last step, one a seed."""
        return [steps[-1].mean for steps in self.steps]

    def reached(self, step: int) -> list[Summary]:
        """After an inner step, or the last where there are fewer; one a seed."""
        return [steps[min(step, len(steps) - 1)] for steps in self.steps]

    def of_seeds(self, seeds: Sequence[int]) -> Self | None:
        """The same of some seeds alone; None where none of them is here."""
        found = [number for number, seed in enumerate(self.seeds) if seed in seeds]
        if not found or len(found) == len(self.seeds):
            return self if found else None
        steps = tuple(self.steps[number] for number in found)
        return dataclasses.replace(self, seeds=tuple(self.seeds[number] for number in found), steps=steps,
                                   score=_bound(self.suite, steps), bound=len(found) > 1)  # fmt: skip

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values, but for what `name` says; so exact that a page made of them is the same again."""
        return {
            **_plain(self.score), "bound": self.bound, "trained_with": list(self.seeds),
            "seeds": [finite(mean) for mean in self.means],
            "steps": [[_plain(step) for step in steps] for steps in self.steps],
            "ms_per_task": round(self.ms_per_task, 3),
            **{name: getattr(self, name) for name in ("adapts", "parameters", "tasks_sha256")},
        }  # fmt: skip

    @classmethod
    def from_json(cls, name: str, entry: Mapping[str, Any]) -> Self:
        """What `to_json` gave.

        Args:
            name: of the entry.
            entry: its values; the first pages do not number their seeds: those are 0, 1, …
        """
        match = _NAME.fullmatch(name)
        if match is None:
            raise ValueError(f"{name!r} does not name a score, such as '5-way 1 shots: maml transductive'")
        steps = tuple(tuple(map(_summary, several)) for several in entry["steps"])
        return cls(
            match["suite"], match["key"], match["mode"], int(match["shots"]),
            tuple(entry.get("trained_with", range(len(steps)))), steps, _summary(entry), entry.get("bound", False),
            *(entry[name] for name in ("ms_per_task", "adapts", "parameters", "tasks_sha256")),
        )  # fmt: skip


def scored(suite: str, key: str, cells: Sequence[Cell]) -> list[Scored]:
    """What the cells of one method come to.

    Args:
        suite: the test tasks.
        key: the method's.
        cells: of all its seeds, modes and numbers of shots.

    Returns:
        The mode of the first cell first, and shots ascending in each.
    """
    named = tuple(dataclasses.replace(cell, label=_mode(cell)) for cell in cells)
    if not named:
        return []
    comparison = Comparison(named, named[0].label)
    found = []
    for mode in comparison.labels:
        for shots in comparison.shots:
            row = next(row for row in comparison.rows(shots) if row.label == mode)
            several = comparison.of(mode, shots)
            found.append(Scored(
                suite, key, mode, shots, tuple(cell.seed or 0 for cell in several),
                tuple(cell.result.steps for cell in several), row.score, False, 1000 * row.seconds_per_task, row.adapts,
                row.parameters, comparison.checksums[shots],
            ))  # fmt: skip
    return found


def together(kept: Scored, found: Scored) -> Scored:
    """One method's scores of some seeds, and of others.

    The task-by-task scores of kept ones are gone, so that the interval over tasks of each task's mean over seeds is not
    known. By the triangle inequality it is at most the mean of the seeds' intervals, which stands for it, where all
    seeds count the same tasks; on the sinusoid they leave out what diverged, and there is no interval.

    Args:
        kept: of some seeds.
        found: of seeds that may be among them: these count.

    Returns:
        Both, seeds ascending.

    Raises:
        MetaftError: if they are not of the same test tasks.
    """
    others = kept.of_seeds([seed for seed in kept.seeds if seed not in found.seeds])
    if others is None:
        return found
    if kept.tasks_sha256 != found.tasks_sha256:
        raise MetaftError(
            f"{kept.name}: the page tells of {kept.tasks} test tasks and the new scores are of {found.tasks} others; "
            f"score on the same, or leave --add out"
        )
    steps = dict(sorted((*zip(others.seeds, others.steps, strict=True), *zip(found.seeds, found.steps, strict=True))))
    times = fmean(one.ms_per_task for one in (others, found) for _ in one.seeds)
    score = _bound(found.suite, steps.values())
    both = {"seeds": tuple(steps), "steps": tuple(steps.values())}
    return dataclasses.replace(found, **both, score=score, bound=True, ms_per_task=times)


def _bound(suite: str, steps: Iterable[tuple[Summary, ...]]) -> Summary:
    """The mean over seeds, with the mean of their intervals; without one where seeds count different waves."""
    last = [several[-1] for several in steps]
    diverged = max(one.diverged for one in last) if suite == "sinusoid" else 0  # an accuracy counts them as wrong
    mean, ci95, median = (fmean(getattr(one, name) for one in last) for name in ("mean", "ci95", "median"))
    return Summary(mean, math.nan if diverged else ci95, median, min(one.count for one in last), diverged)


def _mode(cell: Cell) -> str:
    """The mode, and whose statistics those are where that is not the support set or the task."""
    norm = str(cell.result.learner.get("batch_norm", ""))
    return f"{cell.result.mode} ({norm})" if norm in ("running", "per-step") else cell.result.mode


def _summary(entry: Mapping[str, Any]) -> Summary:
    fields = [field.name for field in dataclasses.fields(Summary)]
    return Summary(**{name: math.nan if entry[name] is None else entry[name] for name in fields})


def _plain(summary: Summary) -> dict[str, Any]:
    values = dataclasses.asdict(summary).items()
    return {name: finite(value) if isinstance(value, float) else value for name, value in values}
