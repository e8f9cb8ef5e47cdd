"""Learners side by side on identical tasks: paired differences, spread over seeds, cost."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from metaft.errors import MetaftError, nearest
from metaft.evaluation.difference import Difference, difference
from metaft.evaluation.result import Result
from metaft.evaluation.statistics import Spread, Summary, seed_spread, summarise

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


@dataclass(frozen=True, eq=False)
class Comparison:
    """Several learners on the same tasks.

    Args:
        cells: all evaluations, learner by learner.
        baseline: the label that others are held against.
        paired_seeds: hold seed s of a learner against seed s of the baseline where both have the same seeds, for
            learners that share what a seed stands for, such as the pretrained network.

    Raises:
        MetaftError: if there is nothing to compare, tasks or metrics differ, or the baseline is not among the labels.
    """

    cells: tuple[Cell, ...]
    baseline: str
    paired_seeds: bool = False

    def __post_init__(self) -> None:
        require_baseline(self.baseline, self.labels)
        for shots in self.shots:
            sums = {cell.tasks_sha256 for cell in self.cells if cell.shots == shots}
            if len(sums) > 1:
                raise MetaftError(f"learners were given different tasks at {shots} shots; make the comparison anew")
        if len({cell.result.metric for cell in self.cells}) > 1:
            raise MetaftError("accuracies and errors cannot be compared")

    @property
    def labels(self) -> list[str]:
        """The learners, in order."""
        return list(dict.fromkeys(cell.label for cell in self.cells))

    @property
    def shots(self) -> list[int]:
        """The numbers of shots, ascending."""
        return sorted({cell.shots for cell in self.cells})

    @property
    def metric(self) -> str:
        """``"accuracy"`` (higher is better) or ``"mse"`` (lower is better)."""
        return self.cells[0].result.metric

    @property
    def tasks(self) -> int:
        """How many tasks there are at each number of shots."""
        return self.cells[0].result.tasks

    @property
    def family(self) -> dict[str, Any]:
        """The tasks' settings, without shots."""
        return {name: value for name, value in self.cells[0].result.family.items() if name != "shots"}

    @property
    def checksums(self) -> dict[int, str]:
        """The tasks' sha256 by shots, the same for all learners."""
        return {cell.shots: cell.tasks_sha256 for cell in self.cells}

    def of(self, label: str, shots: int) -> list[Cell]:
        """The evaluations of one learner, a seed each."""
        return [cell for cell in self.cells if cell.label == label and cell.shots == shots]

    def rows(self, shots: int) -> list[Row]:
        """The table at one number of shots, a row a learner."""
        return [self._row(label, shots) for label in self.labels]

    def per_task(self, label: str, shots: int) -> Tensor:
        """``float64 [tasks]``, each task's mean over seeds; NaN where a regression diverged with any of them."""
        return self.by_seed(label, shots).mean(0)

    def by_seed(self, label: str, shots: int) -> Tensor:
        """``float64 [seeds, tasks]``; NaN where a regression diverged."""
        return torch.stack([cell.scores for cell in self.of(label, shots)])

    def gap(self, label: str, other: str, shots: int) -> Difference:
        """How much higher one learner scores than another, and what the interval of that ranges over.

        Args:
            label: the first learner.
            other: the second.
            shots: at which number.

        Returns:
            The difference.
        """
        pair = (self.of(label, shots), self.of(other, shots))
        seeds = [[cell.seed for cell in cells] for cells in pair]
        return difference(
            self.by_seed(label, shots),
            self.by_seed(other, shots),
            deterministic=(pair[0][0].deterministic, pair[1][0].deterministic),
            paired_seeds=self.paired_seeds and len(seeds[0]) > 1 and seeds[0] == seeds[1],
        )

    def _row(self, label: str, shots: int) -> Row:
        cells = self.of(label, shots)
        results = [cell.result for cell in cells]
        scores = self.per_task(label, shots)
        gap = None if label == self.baseline else self.gap(label, self.baseline, shots)
        bad = {task for result in results for task in result.diverged_tasks}
        peaks = [cell.peak_bytes for cell in cells if cell.peak_bytes is not None]
        learner = results[0].learner
        steps = torch.tensor([result.per_step for result in results], dtype=torch.float64).mean(0)
        return Row(
            label=label,
            shots=shots,
            score=dataclasses.replace(summarise(scores, ~scores.isfinite()), diverged=len(bad)),
            seeds=None if cells[0].seed is None else seed_spread([result.mean for result in results]),
            gap=gap,
            verdict="" if gap is None else gap.verdict(self.metric == "accuracy"),
            mode=results[0].mode,
            adapts=(adapts := learner.get("adapts")),
            bytes_per_task=None if adapts is None else BYTES * adapts,
            parameters=int(learner.get("parameters", 0)),
            seconds_per_task=sum(cell.seconds_per_task for cell in cells) / len(cells),
            peak_bytes=max(peaks, default=None),
            steps=tuple((mean, half) for mean, half in steps.tolist()),
        )


def has_no_randomness(told: Mapping[str, Any]) -> bool:
    """Whether a learner says that it holds no weights and no seed.

    Args:
        told: its description, with the ``parameters`` that it holds.

    Returns:
        False too where it does not say how many it holds.
    """
    return told.get("parameters") == 0 and not any(name.endswith("seed") for name in told)


def require_baseline(baseline: str | None, labels: Iterable[str]) -> None:
    """Refuse a baseline that does not take part, and a comparison of nothing."""
    known = list(labels)
    if not known:
        raise MetaftError("nothing to compare: no learner was given")
    if baseline is not None and baseline not in known:
        raise MetaftError(f"the baseline {baseline!r} does not take part{nearest(baseline, known)}")
