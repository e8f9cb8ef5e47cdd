"""The family of meta-learners, in equal time on one core each: makes results/family*.{md,json,png}.

Command: python -m experiments.family --minutes 10   (trains and scores what is not done yet; see --plan, --choose)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from experiments.common import HERE
from experiments.family_jobs import (
    cells_of,
    choose_on_validation,
    forget_scores,
    log_of,
    scoring_job,
    training_job,
    work,
)
from experiments.family_page import write_pages
from experiments.family_plan import (
    ASKED_MINUTES,
    ASKED_SCHEME,
    SUITES,
    Course,
    Method,
    Training,
    chosen_names,
    plan,
    read_plan,
    with_scheme,
    with_seeds,
)
from metaft.data.splits import SCHEMES
from metaft.errors import MetaftError
from metaft.evaluation.comparison import Cell
from metaft.runs.processes import last_line
from metaft.runs.stopping import StoppedRun


@click.command()
@click.option("--minutes", default=ASKED_MINUTES["5-way"], show_default=True, help="of one training on one core")
@click.option("--sinusoid-minutes", default=ASKED_MINUTES["sinusoid"], show_default=True,
              help="likewise on the sinusoid; in 0.7 MAML makes the 70,000 iterations of its paper")  # fmt: skip
@click.option("--only", metavar="METHOD,…", help="methods  [default: all]")
@click.option("--settings", metavar="COURSE,…", help="5-way, 20-way, any-way, sinusoid  [default: all]")
@click.option("--scheme", type=click.Choice(list(SCHEMES)), default=ASKED_SCHEME, show_default=True,
              help="how characters are divided: maml is at random over all alphabets, as published")  # fmt: skip
@click.option("--seeds", default=3, show_default=True, help="seeds of each training")
@click.option("--tasks", default=400, show_default=True, help="test tasks at each number of shots, 5-way and sinusoid")
@click.option("--tasks-20", default=100, show_default=True, help="20-way test tasks at each number of shots")
@click.option("--jobs", default=2, show_default=True, help="programs side by side, a core each")
@click.option("--choose", is_flag=True, help="first try what family.toml leaves open on validation classes")
@click.option("--choose-minutes", type=float, help="of one try  [default: half of a training]")
@click.option("--plan", "only_plan", is_flag=True, help="say what there is to do, and how long it takes, and stop")
@click.option("--page", "only_page", is_flag=True, help="train and score nothing: pages of what is there")
@click.option("--runs", default="runs/family", show_default=True, type=click.Path(path_type=Path), help="work folder")
@click.option("--results", default="results", show_default=True, type=click.Path(path_type=Path), help="where pages go")
def main(
    minutes: float, sinusoid_minutes: float, only: str | None, settings: str | None, scheme: str, seeds: int,
    tasks: int, tasks_20: int, jobs: int, choose: bool, choose_minutes: float | None, only_plan: bool, only_page: bool,
    runs: Path, results: Path,
) -> None:  # fmt: skip
    """Train every method for the same time, score all on the same tasks, write the pages; what is done is kept."""
    try:
        courses, methods = read_plan(HERE / "family.toml")
        courses = with_scheme(courses, scheme)
        asked = {name: courses[name] for name in chosen_names(courses, settings, "course")}
        wanted = [methods[key] for key in chosen_names(methods, only, "method")]
        times = dict.fromkeys(courses, minutes) | {"sinusoid": sinusoid_minutes}
        counts = {"5-way": tasks, "20-way": tasks_20, "sinusoid": tasks}
        if choose and not (only_plan or only_page):
            for course in asked.values():
                for method in wanted:
                    choose_on_validation(method, course, choose_minutes or times[course.name] / 2, runs, jobs)
        trainings, refused = plan(wanted, asked, seeds, times, runs)
        for name, reason in refused.items():
            click.echo(f"left out: {name}: {reason}")
        todo = [training for training in trainings if training.state() not in ("finished", "failed")]
        length = sum(training.minutes for training in todo)
        click.echo(f"{len(todo)} of {len(trainings)} trainings to do: {length:g} minutes of one core, "
                   f"{length / jobs:g} with {jobs} side by side; scoring comes after them")  # fmt: skip
        if only_plan:
            return
        if not only_page:
            forget_scores(todo, counts)
            work([training_job(training) for training in todo], jobs)
            score(trainings, counts, jobs)
        show(courses, methods, times, scheme, counts, runs, results)
    except (MetaftError, StoppedRun) as error:
        raise click.ClickException(str(error)) from None


def score(trainings: Sequence[Training], counts: Mapping[str, int], jobs: int) -> None:
    """Score what is trained and was not scored yet.

    Args:
        trainings: finished or not.
        counts: test tasks by suite.
        jobs: programs side by side.
    """
    found = [
        scoring_job(SUITES[name], seeded, counts[name])
        for seeded in with_seeds(trainings).values()
        for name in seeded[0].course.scored
    ]
    work([job for job in found if job is not None], jobs)


def show(
    courses: Mapping[str, Course],
    methods: Mapping[str, Method],
    times: Mapping[str, float],
    scheme: str,
    counts: Mapping[str, int],
    runs: Path,
    results: Path,
) -> None:
    """Write the pages of all that was trained for this long, whatever was asked for now.

    Args:
        courses: all, by name.
        methods: all, by name.
        times: minutes of one training, by course.
        scheme: how characters are divided.
        counts: test tasks by suite.
        runs: the work folder.
        results: where pages go.

    Raises:
        MetaftError: if nothing was trained.
    """
    seeds = 1 + max((int(run.parent.name.rpartition("-")[2]) for run in runs.glob("*/*/run.json")), default=0)
    trainings, refused = plan(list(methods.values()), courses, seeds, times, runs)
    seeded = with_seeds(trainings)
    if not seeded:
        asked = f"{times['5-way']:g} minutes with --scheme {scheme}"
        raise MetaftError(f"nothing in {runs} was trained for {asked}; leave --page out")
    failures = {training.name: last_line(log_of(training.folder)) for training in trainings
                if training.state() == "failed" or (training.state() == "absent" and log_of(training.folder).exists())}  # fmt: skip
    cells: list[tuple[str, Training, Cell]] = []
    unfinished: dict[str, str] = {}
    for several in seeded.values():
        for name in several[0].course.scored:
            found = cells_of(SUITES[name], several, counts[name])
            if scoring_job(SUITES[name], several, counts[name]) is None:
                cells += [(name, *one) for one in found]
            else:
                unfinished[f"{several[0].method.key} on {name} test tasks"] = "scoring has not come to its end"
    waiting = untrained([t for t in trainings if t.name not in failures], seeded)
    problems = {**refused, **failures, **unfinished, **waiting}
    written = write_pages(methods, trainings, cells, times, scheme, problems, results)
    click.echo(f"written: {results / written}.md, {written}.json and pictures")


def untrained(trainings: Sequence[Training], seeded: Mapping[tuple[str, str], Sequence[Training]]) -> dict[str, str]:
    """What is planned and has not one finished training, a line a course.

    Args:
        trainings: that are planned and did not fail.
        seeded: finished trainings by method and course.

    Returns:
        Names → the reason why they are absent.
    """
    left: dict[str, dict[str, Training]] = {}
    for training in trainings:
        if (training.method.key, training.course.name) not in seeded:
            left.setdefault(training.course.name, {})[training.method.label] = training
    return {f"{course}: {', '.join(several)}": f"not trained for {next(iter(several.values())).minutes:g} minutes yet"
            for course, several in left.items()}  # fmt: skip


if __name__ == "__main__":
    main()
