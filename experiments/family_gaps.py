"""Why a score is not the published one: what was measured about the training, no guesses."""

from __future__ import annotations

import re

from experiments.family_facts import Facts, mean
from experiments.family_plan import SUITES, Method
from experiments.family_tables import Report

GAP = 0.01
"""Differences in accuracy up to this are not explained."""


def gap_lines(report: Report) -> list[str]:
    """A paragraph for every method with a gap.

    Args:
        report: what was measured.

    Returns:
        Lines of a Markdown list.
    """
    lines = []
    for key, method in report.methods.items():
        for course in method.courses:
            if (key, course) not in report.facts or course == "sinusoid":
                continue
            gaps = [text for text in (_gap(report, method, course, place) for place in _places(course)) if text]
            if gaps:
                why = _why(report, method, course, mean(report.facts[key, course]))
                lines.append(f"- **{method.label}, trained {course}.** {'; '.join(gaps)}. {why}")
    return lines


def _places(course: str) -> list[tuple[str, int, str]]:
    suites = [SUITES[name] for name in (("5-way", "20-way") if course == "any-way" else (course,))]
    return [(s.name, shots, place) for s in suites for shots, place in zip(s.shots, s.places(), strict=True)]


def _gap(report: Report, method: Method, course: str, place: tuple[str, int, str]) -> str | None:
    """``5-way 1-shot 88.10 for 98.7 (−10.6, transductive)`` where the two differ by more than `GAP`."""
    suite, shots, name = place
    number = method.published.get(name)
    mode = report.held_against(suite, method.key)
    if number is None or mode is None:
        return None
    row = report.row(suite, method.key, mode, shots)
    aim = float(re.split(r"[ ±]", str(number))[0]) / 100
    if row is None or abs(row.score.mean - aim) <= GAP:
        return None
    gap = 100 * (row.score.mean - aim)
    return f"{name} {100 * row.score.mean:.1f} for {100 * aim:g} ({'+' if gap > 0 else '−'}{abs(gap):.1f}, {_short(row.mode)})"


def _why(report: Report, method: Method, course: str, one: Facts) -> str:
    said = [f"{one.iterations:,.0f} iterations, {one.tasks:,.0f} training tasks, {one.speed:,.0f} a second, "
            f"in {one.seconds / 60:.1f} minutes"]  # fmt: skip
    theirs = method.published.get("tasks", {}).get(course)
    if theirs:
        said[0] += f"; the published training saw {theirs:,} tasks, {theirs / one.tasks:,.0f} times as many"
    if course in method.published.get("notes", {}):
        said.append(method.published["notes"][course])
    suite = "5-way" if course == "any-way" else course
    own = next(iter(report.modes(method.key, [suite])), None)  # that of training, as the other two are in
    row = report.row(suite, method.key, own, 1) if own is not None else None
    test = f", test {100 * row.score.mean:.1f} ({_short(row.mode)})" if row is not None else ""
    ways = "; training tasks have more ways than the other two" if course == "any-way" else ""
    said.append(
        f"At 1 shot: training tasks {_percent(one.training)}, validation {_percent(one.validation)}{test}{ways}"
    )
    if one.late is not None:
        said.append(f"In the second half of the time validation changed by {100 * one.late:+.1f} points")
    return ". ".join(said).replace("by -", "by −") + "."


def _percent(accuracy: float) -> str:
    return f"{100 * accuracy:.1f}" if accuracy == accuracy else "not logged"


def _short(mode: str) -> str:
    """Transductive or inductive, whosever statistics those are."""
    return mode.partition(" ")[0]
