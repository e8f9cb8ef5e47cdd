"""All that a page is made from: what the work folder holds, and what an earlier page told."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

from experiments.jobs import log_of
from experiments.meta_learners.facts import Facts, facts
from experiments.meta_learners.jobs import cells_of, scoring_job
from experiments.meta_learners.kept import Kept
from experiments.meta_learners.plan import SUITES, Course, Method, Training, plan, with_seeds
from experiments.meta_learners.report import Report
from experiments.meta_learners.scores import Scored, scored, together
from metaft.commands.sweep.processes import last_line
from metaft.errors import MetaftError


def collect(
    courses: Mapping[str, Course], methods: Mapping[str, Method], times: Mapping[str, float], scheme: str,
    counts: Mapping[str, int], runs: Path, told: Kept,
) -> tuple[Report, list[Training]]:  # fmt: skip
    """Bring together all that was trained for this long, whatever was asked for now.

    Args:
        courses: all, by name.
        methods: all, by name.
        times: minutes of one training, by course.
        scheme: how characters are divided.
        counts: test tasks by suite.
        runs: the work folder.
        told: by an earlier page, of trainings with today's settings alone (see `Kept.of`); where the work folder has
            the same training, that one counts.

    Returns:
        What to show, and the trainings that it is of.

    Raises:
        MetaftError: if nothing was trained, or methods were scored on different tasks.
    """
    seeds = 1 + max((int(run.parent.name.rpartition("-")[2]) for run in runs.glob("*/*/run.json")), default=0)
    trainings, refused = plan(list(methods.values()), courses, max(seeds, told.seeds), times, runs)
    seeded = with_seeds(trainings)
    if not seeded and not told.commands:
        asked = f"{times['5-way']:g} minutes with --scheme {scheme}"
        raise MetaftError(f"nothing in {runs} was trained for {asked}; leave --page out")
    ran = {name: [facts(training) for training in several] for name, several in seeded.items()}
    in_order = dict.fromkeys((training.method.key, training.course.name) for training in trainings)
    both = {name: _of_all_seeds(told.facts.get(name, []), ran.get(name, [])) for name in in_order}
    found = {name: several for name, several in both.items() if several}
    scores, unfinished = _scores(seeded, counts, told.scores)
    failed = lambda one: one.state() == "failed" or (one.state() == "absent" and log_of(one.folder).exists())
    failures = {
        one.name: last_line(log_of(one.folder)) for one in trainings if one.name not in told.commands and failed(one)
    }
    waiting = untrained([one for one in trainings if one.name not in failures], found)
    problems = {**refused, **failures, **unfinished, **waiting}
    done = [one for name in found for one in trainings if (one.method.key, one.course.name) == name
            and (one.name in told.commands or one.state() == "finished")]  # fmt: skip
    origins = told.origins if told.commands else ()
    return Report(
        methods, found, _by_suite(scores, list(methods)), times, scheme, problems, told.remarks, origins
    ), done


def untrained(trainings: Sequence[Training], done: Collection[tuple[str, str]]) -> dict[str, str]:
    """What is planned and has not one finished training, a line a course.

    Args:
        trainings: that are planned and did not fail.
        done: method and course of finished ones.

    Returns:
        Names → the reason why they are absent.
    """
    left: dict[str, dict[str, Training]] = {}
    for training in trainings:
        if (training.method.key, training.course.name) not in done:
            left.setdefault(training.course.name, {})[training.method.label] = training
    return {f"{course}: {', '.join(several)}": f"not trained for {next(iter(several.values())).minutes:g} minutes yet"
            for course, several in left.items()}  # fmt: skip


def _of_all_seeds(kept: Iterable[Facts], ran: Iterable[Facts]) -> list[Facts]:
    """Seeds ascending; what ran counts where both have a seed."""
    by_seed = {one.seed or 0: one for several in (kept, ran) for one in several}
    return [by_seed[seed] for seed in sorted(by_seed)]


def _scores(
    seeded: Mapping[tuple[str, str], Sequence[Training]], counts: Mapping[str, int], kept: Iterable[Scored]
) -> tuple[list[Scored], dict[str, str]]:
    """Scores with all seeds, and what is not scored to its end with the reason."""
    found = {one.name: one for one in kept}
    unfinished = {}
    for several in seeded.values():
        key = several[0].method.key
        for name in several[0].course.scored:
            if scoring_job(SUITES[name], several, counts[name]) is not None:
                unfinished[f"{key} on {name} test tasks"] = "scoring has not come to its end"
                continue
            for one in scored(name, key, [cell for _, cell in cells_of(SUITES[name], several, counts[name])]):
                found[one.name] = together(found[one.name], one) if one.name in found else one
    return list(found.values()), unfinished


def _by_suite(scores: Sequence[Scored], methods: Sequence[str]) -> dict[str, list[Scored]]:
    """In the order of the tables: by method, its mode of training first, shots ascending."""
    found: dict[str, list[Scored]] = {}
    for suite in SUITES:
        several = [one for one in scores if one.suite == suite]
        modes = list(dict.fromkeys((one.key, one.mode) for one in several))
        several.sort(key=lambda one: (methods.index(one.key), modes.index((one.key, one.mode)), one.shots))
        _require_same_tasks(several)
        if several:
            found[suite] = several
    return found


def _require_same_tasks(several: Sequence[Scored]) -> None:
    for one in several:
        first = next(other for other in several if other.shots == one.shots)
        if one.tasks_sha256 != first.tasks_sha256:
            told = f"{first.name} is of {first.tasks} test tasks and {one.name} of {one.tasks} others"
            raise MetaftError(f"{told}; score both on the same")
