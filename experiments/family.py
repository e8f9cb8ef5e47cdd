"""The family of meta-learners, in equal time on one core each: makes results/family*.{md,json,png}.

Command: python -m experiments.family --minutes 10   (trains and scores what is not done yet; see --plan, --choose)
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import click

from experiments.common import HERE
from experiments.family_page import write_pages
from experiments.family_plan import (
    MODES,
    SUITES,
    Course,
    Method,
    Suite,
    Training,
    choice_folder,
    chosen_names,
    plan,
    read_plan,
    settings_of,
    with_seeds,
)
from metaft.errors import MetaftError
from metaft.evaluation.comparison import Cell
from metaft.files import write_atomically
from metaft.runs.comparing import CELLS, read_cells
from metaft.runs.processes import Job, last_line, run_jobs
from metaft.runs.stopping import StoppedRun
from metaft.runs.sweep import sweep
from metaft.runs.sweep_record import RECORD


@click.command()
@click.option("--minutes", default=10.0, show_default=True, help="of one training on one core")
@click.option("--sinusoid-minutes", type=float, help="likewise on the sinusoid  [default: half of --minutes]")
@click.option("--only", metavar="METHOD,…", help="methods  [default: all]")
@click.option("--settings", metavar="COURSE,…", help="5-way, 20-way, any-way, sinusoid  [default: all]")
@click.option("--seeds", default=3, show_default=True, help="seeds of each training")
@click.option("--tasks", default=400, show_default=True, help="test tasks at each number of shots, 5-way and sinusoid")
@click.option("--tasks-20", default=100, show_default=True, help="20-way test tasks at each number of shots")
@click.option("--jobs", default=2, show_default=True, help="programs side by side, a core each")
@click.option("--choose", is_flag=True, help="first try the rates of family.toml on validation classes")
@click.option("--choose-minutes", type=float, help="of one try  [default: half of --minutes]")
@click.option("--plan", "only_plan", is_flag=True, help="say what there is to do, and how long it takes, and stop")
@click.option("--page", "only_page", is_flag=True, help="train and score nothing: pages of what is there")
@click.option("--runs", default="runs/family", show_default=True, type=click.Path(path_type=Path), help="work folder")
@click.option("--results", default="results", show_default=True, type=click.Path(path_type=Path), help="where pages go")
def main(
    minutes: float, sinusoid_minutes: float | None, only: str | None, settings: str | None, seeds: int, tasks: int,
    tasks_20: int, jobs: int, choose: bool, choose_minutes: float | None, only_plan: bool, only_page: bool,
    runs: Path, results: Path,
) -> None:  # fmt: skip
    """Train every method for the same time, score all on the same tasks, write the pages; what is done is kept."""
    try:
        all_courses, all_methods = read_plan(HERE / "family.toml")
        courses = {name: all_courses[name] for name in chosen_names(all_courses, settings, "course")}
        methods = [all_methods[key] for key in chosen_names(all_methods, only, "method")]
        times = dict.fromkeys(all_courses, minutes) | {"sinusoid": sinusoid_minutes or minutes / 2}
        counts = {"5-way": tasks, "20-way": tasks_20, "sinusoid": tasks}
        if choose and not only_page:
            for course in courses.values():
                for method in methods:
                    choose_on_validation(method, course, choose_minutes or times[course.name] / 2, runs, jobs)
        trainings, refused = plan(methods, courses, seeds, times, runs)
        for name, reason in refused.items():
            click.echo(f"left out: {name}: {reason}")
        todo = [training for training in trainings if training.state() not in ("finished", "failed")]
        length = sum(training.minutes for training in todo)
        click.echo(f"{len(todo)} of {len(trainings)} trainings to do: {length:g} minutes of one core, "
                   f"{length / jobs:g} with {jobs} side by side; scoring comes after them")  # fmt: skip
        if only_plan:
            return
        if not only_page:
            work([training_job(training) for training in todo], jobs)
            pairs = [(suite, seeded) for seeded in with_seeds(trainings).values()
                     for suite in map(SUITES.get, seeded[0].course.scored) if suite is not None]  # fmt: skip
            work([j for suite, seeded in pairs if (j := scoring_job(suite, seeded, counts[suite.name]))], jobs)
        failed = {t.name: last_line(log_of(t.folder)) for t in trainings if t.state() in ("absent", "failed")}
        # The page shows all that was trained for this long, whatever was asked for now.
        everything, _ = plan(list(all_methods.values()), all_courses, max(seeds, 3), times, runs)
        cells = [(suite, cell) for seeded in with_seeds(everything).values() for name in seeded[0].course.scored
                 for suite in [SUITES[name]] for cell in cells_of(suite, seeded, counts[name])]  # fmt: skip
        write_pages(all_methods, everything, cells, times, {**refused, **failed}, results)
    except MetaftError as error:
        raise click.ClickException(error.message) from None
    except StoppedRun as stopped:
        raise click.ClickException(str(stopped)) from None
    click.echo(f"written: {results}/family*")


def choose_on_validation(method: Method, course: Course, minutes: float, runs: Path, jobs: int) -> None:
    """Try a method's open settings with seed 0 by ``metaft sweep``, unless that is done."""
    tried = method.choose.get(course.name)
    if not tried or course.name not in method.courses:
        return
    folder = choice_folder(runs, method, course)
    fixed = {name: value for name, value in settings_of(method, course, minutes).items() if name not in tried}
    lines = ['command = "meta-train"', "seeds = [0]", "[base]", *(f"{k} = {_toml(v)}" for k, v in fixed.items())]
    lines += ["[grid]", *(f"{name} = {values}" for name, values in tried.items())]
    grid = folder.with_suffix(".toml")
    grid.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(grid, "\n".join(lines).encode())
    found = sweep(grid, folder, jobs, resume=(folder / RECORD).exists())
    chosen = ", ".join(f"{name} = {value}" for best in found.chosen for name, value in best.varied.items())
    click.echo(f"{method.key} {course.name}: chosen on validation classes: {chosen or 'nothing: all tries failed'}")


def training_job(training: Training) -> Job:
    """The program of one training, new or resumed."""
    if training.state() == "absent":
        words = ["meta-train", *training.words(), "--quiet", "--out", str(training.folder)]
    else:
        words = ["meta-train", "--resume", "--quiet", "--out", str(training.folder)]
    return Job(training.name, _program(words), log_of(training.folder), training.folder)


def scoring_job(suite: Suite, seeded: Sequence[Training], tasks: int) -> Job | None:
    """The program that scores all seeds of a method, in each mode it has; None if that is done."""
    folder = scores_folder(suite, seeded[0], tasks)
    wanted = {(training.seed, shots) for training in seeded for shots in suite.shots}
    resumed = (folder / CELLS).exists()
    cells = read_cells(folder / CELLS) if resumed else []
    modes = MODES if suite.name != "sinusoid" else ("",)
    found = {(cell.label, cell.seed, cell.shots) for cell in cells}
    if all((label(mode), seed, shots) in found for mode in modes for seed, shots in wanted):
        return None
    run = str(seeded[0].folder.parent / f"{seeded[0].method.key}-{{seed}}")
    specs = [f"{run}:{f'batch_norm={mode},' if mode else ''}label={label(mode)}" for mode in modes]
    seeds = ",".join(str(training.seed) for training in seeded) + ","
    words = ["compare", *specs, *suite.words, "--shots", ",".join(map(str, suite.shots)), "--tasks", str(tasks),
             "--seeds", seeds, "--workers", "1", "--out", str(folder), *(["--resume"] if resumed else [])]  # fmt: skip
    return Job(f"{seeded[0].method.key} scored on {suite.name} tasks", _program(words), log_of(folder))


def label(mode: str) -> str:
    """What a comparison's folder calls a mode; a learner without batch norm has but one."""
    return mode or "as trained"


def scores_folder(suite: Suite, training: Training, tasks: int) -> Path:
    """Where a method's scores lie, all seeds together."""
    return training.folder.parent / "scores" / f"{suite.name}-{tasks}-tasks" / training.method.key


def cells_of(suite: Suite, seeded: Sequence[Training], tasks: int) -> list[tuple[Training, Cell]]:
    """The evaluations of a method, with the training of the same seed."""
    file = scores_folder(suite, seeded[0], tasks) / CELLS
    by_seed = {training.seed: training for training in seeded}
    cells = read_cells(file) if file.exists() else []
    return [(by_seed[cell.seed], cell) for cell in cells if cell.seed in by_seed]


def log_of(folder: Path) -> Path:
    """The output of the program that fills a folder."""
    return folder.parent / "logs" / f"{folder.name}.log"


def work(jobs: Sequence[Job], at_once: int) -> None:
    """Run programs, saying when each starts and ends.

    Raises:
        StoppedRun: if asked to stop; what runs is saved first.
    """
    signum = run_jobs(jobs, at_once, Report(len(jobs)))
    if signum:
        raise StoppedRun("stopped, all is kept; the same command goes on", signum)


class Report:
    """Says what goes on, a line each."""

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
    return ("-m", "metaft.runs.member", str(os.getpid()), *words)


def _toml(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else str(value)


if __name__ == "__main__":
    main()
