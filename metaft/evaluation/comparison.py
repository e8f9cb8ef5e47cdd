"""Learners side by side on identical tasks: paired differences, spread over seeds, cost."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from metaft.errors import MetaftError, nearest
from metaft.evaluation.cell import BYTES, Cell, Row, record
from metaft.evaluation.difference import Difference, difference
from metaft.evaluation.frame import frame
from metaft.evaluation.statistics import Summary, seed_spread, summarise
from metaft.evaluation.wording import describe_family, spoken_score


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

    def __repr__(self) -> str:
        learners, shots = len(self.labels), self.shots
        counted = f"{learners} {'learner' if learners == 1 else 'learners'} on {self.tasks} tasks"
        where = f"{describe_family(self.family)}{' at each number of shots' if len(shots) > 1 else ''}"
        return f"Comparison({counted} of {where}; best: {self._best()})"

    def _best(self) -> str:
        """The best score at every number of shots, such as ``protonet with accuracy 98.73 ± 0.24 % at 1 shot``."""
        found = []
        for shots in self.shots:
            label, score = self.ranking(shots)[0]
            at = f" at {shots} {'shot' if shots == 1 else 'shots'}" if len(self.shots) > 1 else ""
            found.append(f"{label} with {spoken_score(score.mean, score.ci95, self.metric)}{at}")
        return ", ".join(found)

    def records(self) -> list[dict[str, Any]]:
        """All rows of all tables as plain records.

        Returns:
            A record a learner and number of shots: scores and differences as they are (an accuracy in [0, 1]),
            seconds, bytes. None where there is no such number.
        """
        more = {"tasks": self.tasks, "baseline": self.baseline}
        return [
            record(row, self.metric, **more, tasks_sha256=self.checksums[shots])
            for shots in self.shots
            for row in self.rows(shots)
        ]

    def to_frame(self) -> Any:
        """`records` as a data frame.

        Returns:
            A ``pandas.DataFrame``.

        Raises:
            MetaftError: if pandas is not installed.
        """
        return frame(self.records())

    def plot(self, against: Literal["shots", "steps", "time"] = "shots") -> Any:
        """The scores as a picture.

        Args:
            against: the number of shots, inner steps, or the time that a task takes.

        Returns:
            A ``matplotlib.figure.Figure``; a notebook shows it.

        Raises:
            MetaftError: if no learner has inner steps, and it is those that are asked for.
        """
        from metaft.evaluation import comparison_plots as plots  # matplotlib is loaded where something is drawn

        drawers = {"shots": plots.against_shots, "steps": plots.against_steps, "time": plots.against_time}
        if against not in drawers:
            raise MetaftError(f"against = {against!r}{nearest(str(against), drawers)}")
        figure = drawers[against](self)
        if figure is None:
            raise MetaftError("against = 'steps': no learner takes inner steps; 'shots' and 'time' can be drawn")
        return figure

    def _repr_html_(self) -> str:
        from metaft.evaluation.notebook import comparison_html

        return comparison_html(self)

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

    def ranking(self, shots: int) -> list[tuple[str, Summary]]:
        """The learners with their scores, best first; those without a score last.

        Args:
            shots: at which number.
        """
        sign = -1 if self.metric == "accuracy" else 1
        scores = [(row.label, row.score) for row in self.rows(shots)]
        return sorted(scores, key=lambda one: sign * one[1].mean if math.isfinite(one[1].mean) else math.inf)

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


def require_baseline(baseline: str | None, labels: Iterable[str]) -> None:
    """Refuse a baseline that does not take part, and a comparison of nothing."""
    known = list(labels)
    if not known:
        raise MetaftError("nothing to compare: no learner was given")
    if baseline is not None and baseline not in known:
        raise MetaftError(f"the baseline {baseline!r} does not take part{nearest(baseline, known)}")
