"""All that results/meta_learners.md is made from."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from experiments.meta_learners.facts import Facts, mean
from experiments.meta_learners.plan import SUITES, Method
from experiments.meta_learners.scores import Scored

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

    def bound(self, suites: Sequence[str]) -> bool:
        """Whether some intervals of these suites are only known not to be wider."""
        return any(one.bound for name in suites for one in self.scores[name])

    def places(self) -> list[tuple[str, int, str]]:
        """The columns of Omniglot's table: suite, shots, what the place is called."""
        return [(name, shots, place) for name in OMNIGLOT if name in self.scores
                for shots, place in zip(SUITES[name].shots, SUITES[name].places(), strict=True)]  # fmt: skip

    def trained(self) -> list[tuple[Method, str, Sequence[Facts], Facts]]:
        """Method, course, its seeds and their mean; courses as the suites are."""
        ordered = sorted(self.facts.items(), key=lambda item: list(SUITES).index(suite_of(item[0][1])))
        return [(self.methods[key], course, several, mean(several)) for (key, course), several in ordered]


def processors_rows(report: Report) -> list[list[str]]:
    """A row a method and processor, of courses whose trainings ran on several."""
    ran: dict[str, dict[str, dict[str, list[Facts]]]] = {}
    for (key, course), several in report.facts.items():
        for one in several if course != "sinusoid" else ():
            ran.setdefault(course, {}).setdefault(one.processor or "?", {}).setdefault(key, []).append(one)
    rows = []
    for course, processors in ran.items():
        suite = suite_of(course)
        several_ran = processors if len(processors) > 1 else {}
        for processor, key, several in (
            (p, k, several) for p, methods in several_ran.items() for k, several in methods.items()
        ):
            seeds = [one.seed for one in several if one.seed is not None]
            mode = (report.modes(key, [suite]) or [""])[0]
            found = [report.row(suite, key, mode, shots) for shots in SUITES[suite].shots]
            some = [None if row is None else row.of_seeds(seeds) for row in found]
            rows.append([course, processor, report.methods[key].label, ", ".join(map(str, seeds)),
                         f"{fmean(one.iterations for one in several):,.0f}",
                         *("–" if one is None else f"{100 * one.score.mean:.2f}" for one in some)])  # fmt: skip
    return rows


def processors_of(several: Sequence[Facts]) -> str:
    """What the seeds ran on: ``AMD EPYC (0), Intel Xeon (1, 2)``; no seeds where all ran on one."""
    ran: dict[str, list[str]] = {}
    for one in several:
        ran.setdefault(one.processor or "?", []).append(str(one.seed))
    return ", ".join(f"{name} ({', '.join(seeds)})" if len(ran) > 1 else name for name, seeds in ran.items())


def suite_of(course: str) -> str:
    """The suite that has a course's own number of ways."""
    return "5-way" if course == "any-way" else course
