"""The end of a distillation: every generation and every ensemble of them scored, once, when all has been chosen."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import torch
from torch import Tensor

from metaft.commands.distill.data import tested_on
from metaft.commands.distill.generations import Generation, Line
from metaft.data.images import LabelledImages
from metaft.distillation.bias import bias_correction
from metaft.distillation.teacher import mean_probabilities
from metaft.evaluation.calibration import mean_entropy
from metaft.evaluation.difference import WEIGHTS, difference
from metaft.evaluation.evaluate import draw, score
from metaft.evaluation.held_out import HeldOut, Measures, answers, measure
from metaft.evaluation.report import format_score, write_result
from metaft.evaluation.soft_label_plot import draw_soft_labels
from metaft.evaluation.statistics import mean_interval
from metaft.learners.supervised import Supervised
from metaft.plain_json import finite
from metaft.runs.directory import RunDirectory
from metaft.runs.metrics import Metrics
from metaft.tasks.answers import answered, probabilities
from metaft.tasks.family import TaskFamily

HEADS = ("generation", "val. %", "test %", "errors", "left\nout", "ECE", "agree\n%", "entropy", "s")
"""Of the table, which fits 80 columns; "left out": errors on that class; "entropy": of its teacher's soft labels."""


@dataclass(frozen=True)
class Row:
    """What one generation, or one ensemble, comes to.

    Args:
        name: "generation 1", or "generations 0–1" for an ensemble (the mean of their probabilities).
        validation: accuracy.
        validation_ci95: half width of its 95% interval.
        test: accuracy.
        test_ci95: half width of its 95% interval, over test examples or tasks.
        gain: test accuracy above that of generation 0, on the same examples or tasks.
        gain_ci95: half width of its 95% interval, over examples or tasks (paired): it speaks of these weights, and
            other seeds of the same distillation may differ by more.
        count: test examples, or tasks.
        errors: test examples answered wrongly; None for few-shot tasks.
        ece: expected calibration error on test examples; None for few-shot tasks.
        entropy: of its own probabilities (test examples; few-shot: training images), nats.
        agreement: share of those that it answers as the generation before it does.
        soft_label_entropy: of its teacher's soft labels at the temperature it learned at, of the same examples, nats.
        temperature: at which it was taught.
        seconds: its training took.
        left_out_errors: those of the errors that are examples of the class left out.
        bias_correction: what was added to that class's score, chosen on validation examples.
    """

    name: str
    validation: float
    validation_ci95: float
    test: float
    test_ci95: float
    gain: float
    gain_ci95: float
    count: int
    errors: int | None = None
    ece: float | None = None
    entropy: float | None = None
    agreement: float | None = None
    soft_label_entropy: float | None = None
    temperature: float | None = None
    seconds: float | None = None
    left_out_errors: int | None = None
    bias_correction: float | None = None

    def cells(self) -> list[str]:
        """Under `HEADS`."""
        return [
            self.name.removeprefix("generation ").removeprefix("generations ").replace(" corrected", " *"),
            format_score(self.validation, math.nan, "accuracy"),
            format_score(self.test, self.test_ci95, "accuracy"),
            "–" if self.errors is None else f"{self.errors:,}",
            "–" if self.left_out_errors is None else f"{self.left_out_errors:,}",
            "–" if self.ece is None else f"{self.ece:.4f}",
            "–" if self.agreement is None else f"{100 * self.agreement:.2f}",
            "–" if self.soft_label_entropy is None else f"{self.soft_label_entropy:.3f}",
            "–" if self.seconds is None else f"{self.seconds:,.0f}",
        ]

    def to_json(self) -> dict[str, Any]:
        """All of it; what is not finite becomes None."""
        return dict(finite(dataclasses.asdict(self) | {"gain_is_about": WEIGHTS}))


@dataclass(frozen=True)
class Report:
    """A finished distillation.

    Args:
        line: its generations.
        rows: one a generation.
        derived: where a class was left out, each student with its bias corrected; ensembles of generations 0 … k.
    """

    line: Line
    rows: tuple[Row, ...]
    derived: tuple[Row, ...]


def finish(run: RunDirectory, line: Line, command: str) -> Report:
    """Score all generations and their ensembles on test data, and write what was found.

    Into the run directory go ``distillation.json``, the picture ``soft_labels.png``, and a row a generation for
    TensorBoard; the record says that the run is finished and which generation is the best by validation.

    Args:
        run: the open run directory.
        line: all generations.
        command: what was typed.

    Returns:
        The report.

    Raises:
        MetaftError: if the test data is absent, or a file cannot be written.
    """
    test = tested_on(line.config)
    report = _examples(line, test) if isinstance(test, HeldOut) else _tasks(line, test)
    _write(report, command)
    run.write_record(
        state="finished",
        ended=datetime.now(UTC).isoformat(timespec="seconds"),
        iteration=line.generations[-1].number,
        seconds=sum(row.seconds or 0.0 for row in report.rows),
        best_validation_accuracy=line.best.best,
        best_generation=line.best.number,
    )
    return report


def _examples(line: Line, test: HeldOut) -> Report:
    """Held-out examples of the training classes."""
    validation = line.data.probe
    members = [Supervised(generation.network) for generation in line.generations]
    val = torch.stack([answers(member, validation.images) for member in members])
    tested = torch.stack([answers(member, test.images) for member in members])
    left_out = None if line.config.leave_out is None else test.images.names.index(line.config.leave_out)

    def row(name: str, of_val: Tensor, of_test: Tensor, before: Tensor | None, more: Mapping[str, Any]) -> Row:
        found = measure(of_test, test.labels, before)
        wrong = ~_right(of_test, test.labels)
        told = {"errors": found.errors, "ece": found.ece, **_shared(found), **more}
        if left_out is not None:
            told["left_out_errors"] = int((wrong & (test.labels == left_out)).sum())
        right = _right(of_val, validation.labels).double()
        return _row(name, right, (~wrong).double(), _right(tested[0], test.labels).double(), told)

    def corrected(k: int) -> Row:
        assert left_out is not None
        correction = bias_correction(val[k], validation.labels, left_out)
        raised = torch.zeros(test.outputs)
        raised[left_out] = correction
        told = {"bias_correction": correction}
        return row(f"generation {k} corrected", val[k] + raised, tested[k] + raised, None, told)

    rows = []
    for k, g in enumerate(line.generations):
        before, told = (tested[k - 1] if k else None), _taught(line, g, val[k - 1])
        rows.append(row(f"generation {g.number}", val[k], tested[k], before, told))
    students = range(1, len(members))
    mixed = lambda scores, k: mean_probabilities(scores[: k + 1])
    together = [row(_ensemble(k), mixed(val, k), mixed(tested, k), None, {}) for k in students]
    mended = [] if left_out is None else [corrected(k) for k in students]
    return Report(line, tuple(rows), (*mended, *together))


def _tasks(line: Line, test: TaskFamily) -> Report:
    """Few-shot tasks of other classes; answers to training images are compared beside them."""
    members = [Supervised(generation.network) for generation in line.generations]
    val = _accuracies(members, line.data.validation, line.config.validate_tasks)
    tested = _accuracies(members, test, line.config.test_tasks)
    probe = line.data.probe
    watched = torch.stack([answers(member, probe.images) for member in members])
    rows = []
    for k, generation in enumerate(line.generations):
        found = measure(watched[k], probe.labels, watched[k - 1] if k else None)
        told = _shared(found) | _taught(line, generation, watched[k - 1])
        rows.append(_row(f"generation {generation.number}", val[0][k], tested[0][k], tested[0][0], told))
    together = [_row(_ensemble(k), val[1][k], tested[1][k], tested[0][0], {}) for k in range(1, len(members))]
    return Report(line, tuple(rows), tuple(together))


@torch.no_grad()
def _accuracies(members: list[Supervised], family: TaskFamily, tasks: int) -> tuple[Tensor, Tensor]:
    """Accuracies of each member on its own, and of members 0 … k together, ``float64 [members, tasks]`` both."""
    alone, together = [], []
    for batch in draw(family, tasks):
        scores = torch.stack([member.curve(batch)[-1] for member in members])
        mixed = torch.stack([mean_probabilities(scores[: k + 1]) for k in range(len(members))])
        alone.append(score(scores, batch.query_y, batch.support_y)[1])
        together.append(score(mixed, batch.query_y, batch.support_y)[1])
    return torch.cat(alone, 1), torch.cat(together, 1)


def _row(name: str, val: Tensor, tested: Tensor, first: Tensor, more: Mapping[str, Any]) -> Row:
    """From the values of each validation and test item."""
    gain = difference(tested, first)
    return Row(name, *mean_interval(val), *mean_interval(tested), gain.mean, gain.ci95, len(tested), **more)


def _right(scores: Tensor, labels: Tensor) -> Tensor:
    """Which examples are answered rightly."""
    given, none = answered(scores)
    return (given == labels) & ~none


def _shared(found: Measures) -> dict[str, Any]:
    return {"entropy": found.entropy, "agreement": found.agreement}


def _taught(line: Line, generation: Generation, before: Tensor) -> dict[str, Any]:
    """What it learned from, ``before`` being the scores of the generation that taught it."""
    told = {"temperature": generation.temperature, "seconds": generation.seconds}
    if generation.number and line.config.uses_teacher:
        softened = probabilities(before.double() / (generation.temperature or 1.0))
        told["soft_label_entropy"] = float(mean_entropy(softened))
    return told


def _ensemble(last: int) -> str:
    return f"generations 0–{last}"


def _write(report: Report, command: str) -> None:
    line = report.line
    extra = {
        "validated_by": line.config.validation,
        "validation_by_temperature": {f"{t:g}": value for t, value in line.tried.items()},
        "best_generation": line.best.number,
        "stopped": line.stopped,
        "generations": [generation.path.name for generation in line.generations],
    }
    results = {row.name: row.to_json() for row in (*report.rows, *report.derived)}
    write_result(line.out / "distillation.json", results, command, [line.config.seed], extra)
    with closing(Metrics(line.out / "metrics.jsonl", line.out / "tensorboard")) as metrics:
        for number, row in enumerate(report.rows):
            told = {name: value for name, value in row.to_json().items() if isinstance(value, float)}
            metrics.write("generation", number, told)
        images, teacher, picture = line.data.probe.images, line.generations[-2], line.out / "soft_labels.png"
        if not isinstance(images, LabelledImages):
            return
        scores = answers(Supervised(teacher.network), images)
        if draw_soft_labels(images, scores, line.generations[-1].temperature or 1.0, picture):
            metrics.picture_of("soft_labels", picture, teacher.number)
