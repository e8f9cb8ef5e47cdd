"""The programs that experiments/family.py runs: trainings, scorings, tries; each in a process of one core."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import click

from experiments.family_plan import SUITES, Course, Method, Suite, Training, choice_folder, settings_of
from metaft.commands.compare.compare import CELLS, newest, read_cells
from metaft.commands.sweep.processes import Job, last_line, run_jobs
from metaft.commands.sweep.record import RECORD
from metaft.commands.sweep.sweep import sweep
from metaft.evaluation.comparison import Cell
from metaft.files import write_atomically
from metaft.training.stopping import StoppedRun

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
    folder = choice_folder(runs, method, course)
    resumed = (folder / RECORD).exists()
    fixed = {name: value for name, value in settings_of(method, course, minutes).items() if name not in tried}
    lines = ['command = "meta-train"', "seeds = [0]", "[base]", *(f"{k} = {_toml(v)}" for k, v in fixed.items())]
    lines += ["[grid]", *(f"{name} = {values}" for name, values in tried.items())]
    grid = folder.with_suffix(".toml")
    grid.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(grid, "\n".join(lines).encode())
    found = sweep(None if resumed else grid, folder, jobs, resume=resumed)
    chosen = ", ".join(f"{name} = {value}" for best in found.chosen for name, value in best.varied.items())
    click.echo(f"{method.key} {course.name}: chosen on validation classes: {chosen or 'nothing: all tries failed'}")


def training_job(training: Training) -> Job:
    """The program of one training, new or resumed."""
    begun = training.state() != "absent"
    words = ["meta-train", *(["--resume"] if begun else training.words()), "--quiet", "--out", str(training.folder)]
    return Job(training.name, _program(words), log_of(training.folder), training.folder)


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
    resumed = (folder / CELLS).exists()
    found = {(cell.label, cell.seed, cell.shots) for cell in (read_cells(folder / CELLS) if resumed else [])}
    modes: dict[str, dict[str, str]] = {AS_TRAINED: {}} | (
        {method.also: {"batch_norm": method.also}} if suite.name != "sinusoid" else {}
    )
    if all((label, one.seed, shots) in found for label in modes for one in seeded for shots in suite.shots):
        return None
    run = str(seeded[0].folder.parent / f"{method.key}-{{seed}}")
    steps = method.test_steps.get(course.name)
    more = {} if steps is None else {"steps": steps}
    specs = [run + ":" + ",".join(f"{name}={value}" for name, value in {**options, **more, "label": label}.items())
             for label, options in modes.items()]  # fmt: skip
    seeds = ",".join(str(training.seed) for training in seeded) + ","
    scheme = seeded[0].scheme
    words = ["compare", *specs, *suite.words, *(["--scheme", scheme] if scheme else []), "--shots", ",".join(map(str, suite.shots)), "--tasks", str(tasks),
             "--seeds", seeds, "--workers", "1", "--out", str(folder), *(["--resume"] if resumed else [])]  # fmt: skip
    return Job(f"{method.key} scored on {suite.name} tasks", _program(words), log_of(folder))


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
    file = scores_folder(suite, seeded[0], tasks) / CELLS
    by_seed = {training.seed: training for training in seeded}
    cells = newest(read_cells(file)) if file.exists() else []
    found = [(by_seed[cell.seed], cell) for cell in cells if cell.seed in by_seed]
    return sorted(found, key=lambda pair: (pair[1].label != AS_TRAINED, pair[0].seed, pair[1].shots))


def log_of(folder: Path) -> Path:
    """The output of the program that fills a folder."""
    return folder.parent / "logs" / f"{folder.name}.log"


def work(jobs: Sequence[Job], at_once: int) -> None:
    """Run programs, saying when each starts and which fail.

    Args:
        jobs: the programs.
        at_once: how many side by side.

    Raises:
        StoppedRun: if asked to stop; what runs is saved first.
    """
    # A compilation from nothing for every seed: their times could not be compared otherwise.
    os.environ["TORCHINDUCTOR_FORCE_DISABLE_CACHES"] = "1"
    if signum := run_jobs(jobs, at_once, Report(len(jobs))):
        raise StoppedRun("stopped, all is kept; the same command goes on", signum)


class Report:
    """Says what goes on, a line each.

    Args:
        total: how many jobs there are.
    """

    def __init__(self, total: int) -> None:
        self.total, self.count, self.start = total, 0, time.monotonic()

    def begin(self, done: int, total: int) -> None:
        """Say nothing: the plan was said."""

    def started(self, job: Job) -> None:
        """A job runs now."""
        self.count += 1
        click.echo(f"[{self.count}/{self.total}, {(time.monotonic() - self.start) / 60:.1f} min] {job.name}")

    def ended(self, job: Job, code: int) -> None:
        """A failure is said at once; the others go on."""
        if code:
            click.echo(f"failed: {job.name}: {last_line(job.log) or f'exit code {code}'}")

    def look(self, running: Iterable[Job]) -> None:
        """Say nothing."""


def _program(words: Sequence[str]) -> tuple[str, ...]:
    """A metaft command that ends when this process does."""
    return ("-m", "metaft.commands.sweep.member", str(os.getpid()), *words)


def _toml(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else str(value)
