"""The tables of results/family.md, and all that they are made from."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from statistics import fmean

from experiments.family_facts import Facts, mean
from experiments.family_plan import SUITES, Method
from metaft.evaluation.comparison import Comparison, Row
from metaft.evaluation.report import format_score
from metaft.evaluation.statistics import DIVERGED_ABOVE

OMNIGLOT = ("5-way", "20-way")


@dataclasses.dataclass(frozen=True)
class Report:
    """All that the pages are made from.

    Args:
        methods: by key, in the order of the tables.
        facts: of finished trainings, by method and course: one a seed.
        scores: by suite, learners labelled ``(method key) mode``; suites without scores are absent.
        minutes: of one training, by course.
        scheme: how Omniglot's characters are divided.
        problems: name → why something is absent.
    """

    methods: Mapping[str, Method]
    facts: Mapping[tuple[str, str], Sequence[Facts]]
    scores: Mapping[str, Comparison]
    minutes: Mapping[str, float]
    scheme: str
    problems: Mapping[str, str]

    def row(self, suite: str, key: str, mode: str, shots: int) -> Row | None:
        """One learner's score at one number of shots, or None."""
        found = self.scores.get(suite)
        rows = found.rows(shots) if found is not None else []
        return next((row for row in rows if row.label == f"{key} {mode}"), None)

    def held_against(self, suite: str, key: str) -> str | None:
        """The mode whose score a published number is held against: its own, else the mode of training."""
        modes, own = self.modes(key, [suite]), str(self.methods[key].published.get("mode", "?"))
        return next((mode for mode in modes if mode.startswith(own)), modes[0] if modes else None)

    def modes(self, key: str, suites: Sequence[str]) -> list[str]:
        """The modes that a method was scored in."""
        labels = [label for suite in suites if suite in self.scores for label in self.scores[suite].labels]
        return list(dict.fromkeys(mode for name, _, mode in (label.partition(" ") for label in labels) if name == key))


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
                cells += ["–" if row is None else _score(row), _published(report, name, key, mode, place)]
            rows.append([method.label + (" *any*" if "any-way" in method.courses else ""), mode, *cells])
    return heads, rows


def sinusoid_table(report: Report) -> tuple[list[str], list[list[str]]]:
    """A row a method, shots and step."""
    comparison = report.scores["sinusoid"]
    heads = ["method", "shots", "after step", "mean", "median", "diverged", "published"]
    rows = []
    for label in comparison.labels:
        method = report.methods[label.partition(" ")[0]]
        for shots in SUITES["sinusoid"].shots:
            results = [cell.result for cell in comparison.of(label, shots)]
            for step in (1, 10):
                reached = [result.steps[min(step, len(result.steps) - 1)] for result in results]
                means, medians = [s.mean for s in reached], [s.median for s in reached]
                place = f"{shots} shots, step {step}"
                rows.append([
                    method.label, str(shots), str(step) if len(results[0].steps) > 1 else "none taken",
                    f"{format_score(fmean(means), fmean(s.ci95 for s in reached), 'mse')}{_range(means, 'mse')}",
                    median_text(medians),
                    " / ".join(str(s.diverged) for s in reached), str(method.published.get(place, "–")),
                ])  # fmt: skip
                if len(results[0].steps) == 1:
                    break
    return heads, rows


def time_table(report: Report) -> tuple[list[str], list[list[str]]]:
    """A row a method and course: how far it came in its time."""
    heads = ["method", "course", "seeds", "minutes", "iterations (range)", "tasks/s", "training tasks", "validation tasks",
             "second half of the time"]  # fmt: skip
    rows = []
    for (key, course), several in sorted(report.facts.items(), key=lambda item: list(SUITES).index(_suite(item[0][1]))):
        one, metric = mean(several), "mse" if course == "sinusoid" else "accuracy"
        change = (
            "–"
            if one.late is None
            else f"{'+' if one.late >= 0 else '−'}{format_score(abs(one.late), math.nan, metric)}"
        )
        rows.append([report.methods[key].label, course, str(len(several)), f"{one.seconds / 60:.1f}",
                     f"{one.iterations:,.0f}{_iterations_range(several)}", f"{one.speed:,.0f}", format_score(one.training, math.nan, metric),
                     format_score(one.validation, math.nan, metric), change])  # fmt: skip
    return heads, rows


def _iterations_range(several: Sequence[Facts]) -> str:
    """The fewest and the most of all seeds: equal times are equal work only where the machine was as quick."""
    made = [one.iterations for one in several]
    return f" ({min(made):,.0f}–{max(made):,.0f})" if len(made) > 1 else ""


def _published(report: Report, suite: str, key: str, mode: str, place: str) -> str:
    """The published number with its mode, in the row that it is held against."""
    told = report.methods[key].published
    here = place in told and mode == report.held_against(suite, key)
    return f"{told[place]} ({told.get('mode', '?')})" if here else "–"


def _score(row: Row) -> str:
    means = [] if row.seeds is None else [row.seeds.low, row.seeds.high][: row.seeds.seeds]
    return f"{format_score(row.score.mean, row.score.ci95, 'accuracy')}{_range(means, 'accuracy')}"


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
