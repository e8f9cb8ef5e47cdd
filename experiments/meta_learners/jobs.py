"""The programs that experiments.meta_learners runs: trainings, scorings, tries; each in a process of one core."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import click

from experiments.jobs import cells_in, compare_words, program, swept
from experiments.meta_learners.plan import SUITES, Course, Method, Suite, Training, choice_folder, settings_of
from metaft.commands.compare.compare import CELLS, newest
from metaft.commands.sweep.processes import Job
from metaft.evaluation.comparison import Cell
from metaft.files import write_atomically

AS_TRAINED = "as trained"
"""What a comparison's folder calls a learner in the mode it was trained in."""


def choose_on_validation(method: Method, course: Course, minutes: float, runs: Path, jobs: int) -> None:
    """Try a method's open settings with seed 0 by ``metaft sweep``, unless that is done.

    Args:
        method: whose.
        course: on what.
        minutes: of one try.
        runs: the work folder.
        jobs: programs side by side.
    """
    tried = method.choose.get(course.name)
    if not tried or course.name not in method.courses:
        return
    fixed = {name: value for name, value in settings_of(method, course, minutes).items() if name not in tried}
    grid = {"command": "meta-train", "seeds": [0], "base": fixed, "grid": tried}
    found = swept(grid, choice_folder(runs, method, course), jobs)
    chosen = ", ".join(f"{name} = {value}" for best in found.chosen for name, value in best.varied.items())
    click.echo(f"{method.key} {course.name}: chosen on validation classes: {chosen or 'nothing: all tries failed'}")


def training_job(training: Training) -> Job:
    """The program of one training, new or resumed."""
    begun = training.state() != "absent"
    words = ["meta-train", *(["--resume"] if begun else training.words()), "--quiet", "--out", str(training.folder)]
    return program(training.name, words, training.folder, training.folder)


def scoring_job(suite: Suite, seeded: Sequence[Training], tasks: int) -> Job | None:
    """The program that scores all seeds of a method, in each mode it has.

    Args:
        suite: the test tasks.
        seeded: finished trainings of one method and course.
        tasks: how many tasks at each number of shots.

    Returns:
        The program; None if that is done.
    """
    method, course = seeded[0].method, seeded[0].course
    folder = scores_folder(suite, seeded[0], tasks)
    modes: dict[str, dict[str, object]] = {AS_TRAINED: {}}
    if suite.name != "sinusoid":
        modes[method.also] = {"batch_norm": method.also}
    found = {(cell.label, cell.seed, cell.shots) for cell in cells_in(folder)}
    if all((label, one.seed, shots) in found for label in modes for one in seeded for shots in suite.shots):
        return None
    steps, scheme = method.test_steps.get(course.name), seeded[0].scheme
    run, more = seeded[0].folder.parent / f"{method.key}-{{seed}}", {} if steps is None else {"steps": steps}
    specs = {label: f"{run}:{','.join(f'{name}={value}' for name, value in (own | more).items())}".rstrip(":")
             for label, own in modes.items()}  # fmt: skip
    options = (*suite.words, *(["--scheme", scheme] if scheme else []), "--workers", "1")
    seeds = "".join(f"{training.seed}," for training in seeded)
    words = compare_words(specs, folder, *options, seeds=seeds, shots=suite.shots, tasks=tasks)
    return program(f"{method.key} scored on {suite.name} tasks", words, folder)


def scores_folder(suite: Suite, training: Training, tasks: int) -> Path:
    """Where a method's scores lie, all seeds together."""
    return training.folder.parent / "scores" / f"{suite.name}-{tasks}-tasks" / training.method.key


def forget_scores(trainings: Iterable[Training], counts: Mapping[str, int]) -> None:
    """Remove the scores of trainings that are about to be made: they can only be of another, removed since.

    Args:
        trainings: not finished.
        counts: test tasks by suite.
    """
    for training in trainings:
        for name in training.course.scored:
            file = scores_folder(SUITES[name], training, counts[name]) / CELLS
            lines = file.read_text(encoding="utf-8").splitlines(keepends=True) if file.exists() else []
            kept = [line for line in lines if json.loads(line)["seed"] != training.seed]
            if kept != lines:
                write_atomically(file, "".join(kept).encode())


def cells_of(suite: Suite, seeded: Sequence[Training], tasks: int) -> list[tuple[Training, Cell]]:
    """The evaluations of a method that are there.

    Args:
        suite: the test tasks.
        seeded: trainings of one method and course.
        tasks: how many tasks at each number of shots.

    Returns:
        Each with the training of its seed, those in the mode of training first.
    """
    by_seed = {training.seed: training for training in seeded}
    cells = newest(cells_in(scores_folder(suite, seeded[0], tasks)))
    found = [(by_seed[cell.seed], cell) for cell in cells if cell.seed in by_seed]
    return sorted(found, key=lambda pair: (pair[1].label != AS_TRAINED, pair[0].seed, pair[1].shots))
