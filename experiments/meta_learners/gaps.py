"""Which scores are not the published ones, and what was measured about their trainings: no guesses."""

from __future__ import annotations

import re
from dataclasses import dataclass

from experiments.meta_learners.facts import Facts, mean
from experiments.meta_learners.plan import SUITES, Method
from experiments.meta_learners.report import Report, suite_of
from experiments.meta_learners.scores import Scored

GAP = 0.01
"""Differences in accuracy up to this are not explained."""


@dataclass(frozen=True)
class Gap:
    """One method on one course, with a score that is not the published one.

    Args:
        method: which.
        course: on what it was trained.
        scores: place, score and published score of those that differ by more than `GAP`.
        trained: the means over seeds.
        own: the 1-shot score in the mode of training, as the scores on training and validation tasks are.
    """

    method: Method
    course: str
    scores: list[tuple[str, Scored, float]]
    trained: Facts
    own: Scored | None


def gaps(report: Report) -> list[Gap]:
    """Every method with a gap.

    Args:
        report: what was measured.
    """
    found = []
    for key, method in report.methods.items():
        for course in method.courses:
            if (key, course) in report.facts and course != "sinusoid" and (scores := _scores(report, method, course)):
                suite = suite_of(course)
                own = report.row(suite, key, next(iter(report.modes(key, [suite])), ""), 1)
                found.append(Gap(method, course, scores, mean(report.facts[key, course]), own))
    return found


def _scores(report: Report, method: Method, course: str) -> list[tuple[str, Scored, float]]:
    found = []
    for suite in [SUITES[name] for name in (("5-way", "20-way") if course == "any-way" else (course,))]:
        mode = report.held_against(suite.name, method.key) or ""
        for shots, place in zip(suite.shots, suite.places(), strict=True):
            row = report.row(suite.name, method.key, mode, shots)
            if row is not None and place in method.published:
                aim = float(re.split(r"[ ±]", str(method.published[place]))[0]) / 100
                found += [(place, row, aim)] if abs(row.score.mean - aim) > GAP else []
    return found
