"""The meta-learners in equal time on one core each: makes results/meta_learners*.{md,json,png}.

Command: python -m experiments.meta_learners --minutes 10   (trains and scores what is not done yet; see --plan)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import click

from experiments.jobs import work
from experiments.meta_learners.collect import collect
from experiments.meta_learners.jobs import choose_on_validation, forget_scores, scoring_job, training_job
from experiments.meta_learners.kept import Kept, read_kept
from experiments.meta_learners.page import write_pages
from experiments.meta_learners.plan import (
    ASKED_MINUTES,
    ASKED_SCHEME,
    SUITES,
    Training,
    plan,
    read_plan,
    stem,
    with_scheme,
    with_seeds,
)
from experiments.meta_learners.scores import Scored
from experiments.pages import folder_option, results_option, short_name
from experiments.plans import chosen_names
from metaft.data.splits import SCHEMES
from metaft.environment import environment
from metaft.errors import MetaftError
from metaft.training.stopping import StoppedRun

HERE = Path(__file__).parent


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
@click.option("--choose", is_flag=True, help="first try what plan.toml leaves open on validation classes")
@click.option("--choose-minutes", type=float, help="of one try  [default: half of a training]")
@click.option("--plan", "only_plan", is_flag=True, help="say what there is to do, and how long it takes, and stop")
@click.option("--page", "only_page", is_flag=True, help="train and score nothing: pages of what is there")
@click.option("--add", is_flag=True, help="keep what the page in --results tells; train, score and add what it lacks")
@click.option("--this-processor", is_flag=True,
              help="with --add: make again what of --only, --settings, --seeds ran on another processor")  # fmt: skip
@click.option(
    "--remark", multiple=True, metavar="TEXT", help="for the page, on how trainings were made; --add keeps it"
)
@folder_option("runs", "runs/meta_learners", "work folder")
@results_option
def main(
    minutes: float, sinusoid_minutes: float, only: str | None, settings: str | None, scheme: str, seeds: int,
    tasks: int, tasks_20: int, jobs: int, choose: bool, choose_minutes: float | None, only_plan: bool, only_page: bool,
    add: bool, this_processor: bool, remark: tuple[str, ...], runs: Path, results: Path,
) -> None:  # fmt: skip
    """Train every method for the same time, score all on the same tasks, write the pages; what is done is kept."""
    try:
        courses, methods = read_plan(HERE / "plan.toml")
        courses = with_scheme(courses, scheme)
        asked = {name: courses[name] for name in chosen_names(courses, settings, "course")}
        wanted = [methods[key] for key in chosen_names(methods, only, "method")]
        times = dict.fromkeys(courses, minutes) | {"sinusoid": sinusoid_minutes}
        counts = {"5-way": tasks, "20-way": tasks_20, "sinusoid": tasks}
        told = read_kept(results / f"{stem(times, scheme)}.json") if add else Kept()
        told = replace(told, remarks=tuple(dict.fromkeys((*told.remarks, *remark))))
        require_same_counts(told.scores, counts)
        if choose and not (only_plan or only_page):
            for course in asked.values():
                for method in wanted:
                    choose_on_validation(method, course, choose_minutes or times[course.name] / 2, runs, jobs)
        everything, _ = plan(list(methods.values()), courses, told.seeds, times, runs)
        trainings, refused = plan(wanted, asked, seeds, times, runs)
        again = ran_elsewhere(told, trainings, add, only_page) if this_processor else []
        before, told = told, told.of(everything, courses, methods)
        for name in [name for name in before.commands if name not in told.commands]:
            click.echo(f"not kept, as it was made with other settings or not scored to its end: {name}")
        for name, reason in refused.items():
            click.echo(f"left out: {name}: {reason}")
        known = told.commands.keys() - set(again)
        kept = sum(one.name in known for one in trainings)
        todo = [one for one in trainings if one.name not in known and one.state() not in ("finished", "failed")]
        length = sum(training.minutes for training in todo)
        also = f", {kept} kept" if kept else ""
        click.echo(f"{len(todo)} of {len(trainings)} trainings to do{also}: {length:g} minutes of one core, "
                   f"{length / jobs:g} with {jobs} side by side; scoring comes after them")  # fmt: skip
        if only_plan:
            return
        if not only_page:
            forget_scores(todo, counts)
            work([training_job(training) for training in todo], jobs)
            unscored = [scoring_job(SUITES[name], seeded, counts[name]) for seeded in with_seeds(trainings).values()
                        for name in seeded[0].course.scored]  # fmt: skip
            work([job for job in unscored if job is not None], jobs)
            # Only now: what could not be made again keeps the numbers that it has.
            anew = [one.name for one in trainings if one.name in again and one.state() == "finished"]
            told = told.without(anew).of(everything, courses, methods)
        report, done = collect(courses, methods, times, scheme, counts, runs, told)
        written = write_pages(report, done, results)
        click.echo(f"written: {results / written}.md, {written}.json and pictures")
    except (MetaftError, StoppedRun) as error:
        raise click.ClickException(str(error)) from None


def ran_elsewhere(told: Kept, trainings: Iterable[Training], add: bool, only_page: bool = False) -> list[str]:
    """Names of asked trainings that the page tells of and that ran on another processor than this one.

    Args:
        told: by the page.
        trainings: that are asked for.
        add: whether ``--add`` was given.
        only_page: whether ``--page`` was.

    Returns:
        The names.

    Raises:
        MetaftError: without ``--add``, which alone keeps anything; with ``--page``, which makes nothing again.
    """
    if not add or only_page:
        raise MetaftError("--this-processor says what --add makes again; give it with --add and without --page")
    others = told.elsewhere(short_name(str(environment()["machine"]["cpu"])))
    return [one.name for one in trainings if one.name in others]


def require_same_counts(scores: Iterable[Scored], counts: Mapping[str, int]) -> None:
    """Refuse to add scores of some numbers of test tasks to a page of others, before anything is trained.

    Args:
        scores: that are kept.
        counts: test tasks by suite, as asked for.

    Raises:
        MetaftError: naming both numbers.
    """
    for one in scores:
        if one.tasks != counts[one.suite]:
            option = "--tasks-20" if one.suite == "20-way" else "--tasks"
            raise MetaftError(f"the page tells of {one.tasks} {one.suite} test tasks, and {counts[one.suite]} are "
                              f"asked for; give {option} {one.tasks}, or leave --add out")  # fmt: skip


if __name__ == "__main__":
    main()
