"""What the runs of the distillation experiments came to, as plain numbers; the page is made of these alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.distillation.plan import Experiment, Run
from experiments.jobs import cells_in
from metaft.commands.compare.compare import newest
from metaft.runs.directory import read_record
from metaft.runs.reading import read_json

KEPT = ("validation", "test", "test_ci95", "count", "errors", "ece", "entropy", "agreement", "soft_label_entropy",
        "seconds", "left_out_errors", "bias_correction")  # fmt: skip


def collect(experiment: Experiment, runs: Sequence[Run], scores: Path) -> dict[str, Any]:
    """The numbers of one experiment, of those runs that are finished.

    Args:
        experiment: which.
        runs: its runs.
        scores: the folder of its few-shot scores, which may be absent.

    Returns:
        ``rows`` (one a run and generation or ensemble), ``scores`` (one a learner and seed), ``commands``, ``minutes``.
    """
    done = [run for run in runs if run.state == "finished"]
    return {
        "title": experiment.title,
        "published": dict(experiment.published),
        "seeds": sorted({run.seed for run in done}),
        "rows": [row for run in done for row in _rows(run)],
        "scores": _scores(scores),
        # Levels and seeds differ in nothing else.
        "commands": {run.name: run.shown for run in reversed(done)},
        "minutes": sum(float(read_record(run.folder).get("seconds") or 0) for run in done) / 60,
    }


def _rows(run: Run) -> list[dict[str, Any]]:
    """A row each of the generations and ensembles of a distillation; the validation score of another run."""
    of_run = {"run": run.name, "level": dict(run.level), "seed": run.seed}
    file = run.folder / "distillation.json"
    if not file.exists():
        record = read_record(run.folder)
        told = {"validation": record.get("best_validation_accuracy"), "iterations": record.get("iteration")}
        return [{**of_run, "name": run.name, **told, "seconds": record.get("seconds")}]
    found = read_json(file)["results"]
    return [{**of_run, "name": name, **{key: row.get(key) for key in KEPT}} for name, row in found.items()]


def _scores(folder: Path) -> list[dict[str, Any]]:
    """Few-shot accuracies, a learner and seed each; none where nothing was scored."""
    return [
        {"label": cell.label, "seed": cell.seed, "shots": cell.shots, "accuracy": cell.result.mean,
         "ci95": cell.result.ci95, "tasks": cell.result.tasks, "transductive": cell.result.transductive,
         "per_task": cell.result.to_json()["per_task"]}
        for cell in newest(cells_in(folder))
    ]  # fmt: skip
