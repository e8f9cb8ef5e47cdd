"""The tables of results/family.md, and all that they are made from."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from experiments.family_facts import Facts, mean
from experiments.family_plan import SUITES, Method
from experiments.family_scores import Scored
from metaft.evaluation.report import format_score
from metaft.evaluation.statistics import DIVERGED_ABOVE

OMNIGLOT = ("5-way", "20-way")


@dataclasses.dataclass(frozen=True)
class Report:
    """All that the pages are made from.

    Args:
        methods: by key, in the order of the tables.
        facts: of finished trainings, by method and course: one a seed.
        scores: by suite, a method's mode of training before its other one; suites without scores are absent.
        minutes: of one training, by course.
        scheme: how Omniglot's characters are divided.
        problems: name → why something is absent.
        remarks: sentences on how trainings were made.
        origins: commit, versions, machine and date of each page that trainings were kept from.
    """

    methods: Mapping[str, Method]
    facts: Mapping[tuple[str, str], Sequence[Facts]]
    scores: Mapping[str, Sequence[Scored]]
    minutes: Mapping[str, float]
    scheme: str
    problems: Mapping[str, str]
    remarks: Sequence[str] = ()
    origins: Sequence[Mapping[str, Any]] = ()

    def row(self, suite: str, key: str, mode: str, shots: int) -> Scored | None:
        """One learner's score at one number of shots, or None."""
        found = (one for one in self.scores.get(suite, ()) if (one.key, one.mode, one.shots) == (key, mode, shots))
        return next(found, None)

    def held_against(self, suite: str, key: str) -> str | None:
        """The mode whose score a published number is held against: its own, else the mode of training."""
        modes, own = self.modes(key, [suite]), str(self.methods[key].published.get("mode", "?"))
        return next((mode for mode in modes if mode.startswith(own)), modes[0] if modes else None)

    def modes(self, key: str, suites: Sequence[str]) -> list[str]:
        """The modes that a method was scored in."""
        found = [one.mode for suite in suites for one in self.scores.get(suite, ()) if one.key == key]
        return list(dict.fromkeys(found))


def omniglot_table(report: Report) -> tuple[list[str], list[list[str]]]:
    """A row a method and mode; each setting's score with the published one beside it."""
    places = [(name, shots, place) for name in OMNIGLOT if name in report.scores
              for shots, place in zip(SUITES[name].shots, SUITES[name].places(), strict=True)]  # fmt: skip
    heads = ["method", "mode", *(head for _, _, place in places for head in (place, "published"))]
    rows = []
    for key, method in report.methods.items():
        for mode in report.modes(key, OMNIGLOT):
            cells = []
            for name, shots, place in places:
                row = report.row(name, key, mode, shots)
                cells += [
                    "–" if row is None else f"{accuracy_text(row)}{_range(row.means, 'accuracy')}",
                    _published(report, name, key, mode, place),
                ]
            rows.append([method.label + (" *any*" if "any-way" in method.courses else ""), mode, *cells])
    return heads, rows


def sinusoid_table(report: Report) -> tuple[list[str], list[list[str]]]:
    """A row a method, shots and step."""
    heads = ["method", "shots", "after step", "mean", "median", "diverged", "published"]
    rows = []
    for one in report.scores["sinusoid"]:
        method = report.methods[one.key]
        for step in (1, 10):
            reached = [steps[min(step, len(steps) - 1)] for steps in one.steps]
            means, medians = [s.mean for s in reached], [s.median for s in reached]
            place = f"{one.shots} shots, step {step}"
            rows.append([
                method.label, str(one.shots), str(step) if len(one.steps[0]) > 1 else "none taken",
                f"{format_score(fmean(means), fmean(s.ci95 for s in reached), 'mse')}{_range(means, 'mse')}",
                median_text(medians),
                " / ".join(str(s.diverged) for s in reached), str(method.published.get(place, "–")),
            ])  # fmt: skip
            if len(one.steps[0]) == 1:
                break
    return heads, rows


def time_table(report: Report) -> tuple[list[str], list[list[str]]]:
    """A row a method and course: how far it came in its time."""
    heads = ["method", "course", "seeds", "minutes", "processor", "iterations (range)", "tasks/s", "training tasks",
             "validation tasks", "second half of the time"]  # fmt: skip
    rows = []
    for (key, course), several in sorted(report.facts.items(), key=lambda item: list(SUITES).index(_suite(item[0][1]))):
        one, metric = mean(several), "mse" if course == "sinusoid" else "accuracy"
        change = (
            "–"
            if one.late is None
            else f"{'+' if one.late >= 0 else '−'}{format_score(abs(one.late), math.nan, metric)}"
        )
        rows.append([report.methods[key].label, course, str(len(several)), f"{one.seconds / 60:.1f}", _processors(several),
                     f"{one.iterations:,.0f}{_iterations_range(several)}", f"{one.speed:,.0f}", format_score(one.training, math.nan, metric),
                     format_score(one.validation, math.nan, metric), change])  # fmt: skip
    return heads, rows


def processors_table(report: Report) -> tuple[list[str], list[list[str]]] | None:
    """A row a method and processor, of courses whose trainings ran on several; None if there are none."""
    heads = ["course", "processor", "method", "seeds", "iterations", "1-shot", "5-shot"]
    ran: dict[str, dict[str, dict[str, list[Facts]]]] = {}
    for (key, course), several in report.facts.items():
        for one in several:
            ran.setdefault(course, {}).setdefault(one.processor or "?", {}).setdefault(key, []).append(one)
    rows = []
    for course, processors in ran.items():
        if len(processors) < 2 or course == "sinusoid":
            continue
        for processor, methods in processors.items():
            for key, several in methods.items():
                seeds = [one.seed for one in several if one.seed is not None]
                mode = (report.modes(key, [_suite(course)]) or [""])[0]
                found = [report.row(_suite(course), key, mode, shots) for shots in SUITES[_suite(course)].shots]
                some = [None if row is None else row.of_seeds(seeds) for row in found]
                rows.append([course, processor, report.methods[key].label, ", ".join(map(str, seeds)),
                             f"{fmean(one.iterations for one in several):,.0f}",
                             *("–" if one is None else f"{100 * one.score.mean:.2f}" for one in some)])  # fmt: skip
    return (heads, rows) if rows else None


def _iterations_range(several: Sequence[Facts]) -> str:
    """The fewest and the most of all seeds: equal times are equal work only where the machine was as quick."""
    made = [one.iterations for one in several]
    return f" ({min(made):,.0f}–{max(made):,.0f})" if len(made) > 1 else ""


def _processors(several: Sequence[Facts]) -> str:
    """What the seeds ran on: ``AMD EPYC (0), Intel Xeon (1, 2)``; no seeds where all ran on one."""
    ran: dict[str, list[str]] = {}
    for one in several:
        ran.setdefault(one.processor or "?", []).append(str(one.seed))
    return ", ".join(f"{name} ({', '.join(seeds)})" if len(ran) > 1 else name for name, seeds in ran.items())


def _published(report: Report, suite: str, key: str, mode: str, place: str) -> str:
    """The published number with its mode, in the row that it is held against."""
    told = report.methods[key].published
    here = place in told and mode == report.held_against(suite, key)
    return f"{told[place]} ({told.get('mode', '?')})" if here else "–"


def accuracy_text(one: Scored) -> str:
    """``92.15 ± 0.75``, or ``92.15 ± ≤0.75`` where the interval is only known not to be wider."""
    text = format_score(one.score.mean, one.score.ci95, "accuracy")
    return text.replace("± ", "± ≤") if one.bound else text


def _range(values: Sequence[float], metric: str) -> str:
    if len(values) < 2:
        return ", one seed"
    low, high = (format_score(value, math.nan, metric) for value in (min(values), max(values)))
    return f" ({low}–{high})"


def median_text(medians: Sequence[float]) -> str:
    """Medians of seeds: their mean and range, or in how many seeds most waves diverged."""
    if any(median > DIVERGED_ABOVE for median in medians):
        return f"over {DIVERGED_ABOVE:g} in {sum(m > DIVERGED_ABOVE for m in medians)} of {len(medians)} seeds"
    return f"{format_score(fmean(medians), math.nan, 'mse')}{_range(medians, 'mse')}"


def _suite(course: str) -> str:
    return "5-way" if course == "any-way" else course
