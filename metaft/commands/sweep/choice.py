"""Which setting of a sweep is best: seeds put together, settings ranked, the winner named."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from metaft.commands.sweep.grid import Member
from metaft.commands.sweep.validation_only import Score
from metaft.evaluation.difference import WEIGHTS, Difference, difference
from metaft.evaluation.report import LABELS, format_score
from metaft.evaluation.statistics import Spread, mean_interval, seed_spread
from metaft.settings.family import FamilySettings


@dataclass(frozen=True)
class Candidate:
    """One setting of a sweep, over its seeds.

    Args:
        setting: its index.
        varied: what the grid varies, by name.
        seeds: seed → state ("finished", "failed", …).
        metric: "accuracy" or "mse"; None while no seed has finished.
        mode: "transductive" or "inductive".
        mean: over the seeds that have finished.
        ci95: half width of its 95% interval over tasks, for these seeds' weights.
        spread: over seeds.
        per_task: seed by seed, task by task, if known: the same tasks for all.
        deterministic: whether nothing about it is random, so that one seed stands for all.
        chosen: whether it is the best of those that solve the same task, all seeds finished.
        behind: difference to the chosen one on the same tasks, and what its interval ranges over, if known.
    """

    setting: int
    varied: dict[str, Any]
    seeds: dict[int, str]
    metric: str | None = None
    mode: str | None = None
    mean: float = math.nan
    ci95: float = math.nan
    spread: Spread | None = None
    per_task: tuple[tuple[float, ...], ...] | None = None
    deterministic: bool = False
    chosen: bool = False
    behind: Difference | None = None

    @property
    def complete(self) -> bool:
        """Whether all seeds have finished with a score."""
        return self.spread is not None and self.spread.seeds == len(self.seeds)

    @property
    def value(self) -> float:
        """What settings are ranked by: larger is better."""
        return -self.mean if self.metric == "mse" else self.mean

    @property
    def tasks(self) -> tuple[tuple[str, Any], ...]:
        """Which of the grid's tasks it solves: scores of different ones are not held against each other."""
        return tuple((name, value) for name, value in self.varied.items() if name in FamilySettings.model_fields)


def choose(members: Sequence[Member], states: Mapping[str, str], scores: Mapping[str, Score]) -> list[Candidate]:
    """Put seeds together and mark the best setting.

    Args:
        members: of the sweep.
        states: member → state.
        scores: member → score on validation tasks, of those that have finished.

    Returns:
        The settings in the grid's order. One is chosen for every kind of task: the best mean over seeds, the first of
        equals; a setting with a seed that has not finished is no candidate.
    """
    found = []
    for setting in dict.fromkeys(member.setting for member in members):
        own = [member for member in members if member.setting == setting]
        seeds = {member.seed: states[member.name] for member in own}
        found.append(_candidate(own[0], seeds, [scores[m.name] for m in own if m.name in scores]))
    best: dict[tuple[tuple[str, Any], ...], Candidate] = {}
    for candidate in found:
        leader = best.get(candidate.tasks)
        if candidate.complete and (leader is None or candidate.value > leader.value):
            best[candidate.tasks] = candidate
    return [_against(candidate, best.get(candidate.tasks)) for candidate in found]


def heads(candidates: Sequence[Candidate]) -> list[str]:
    """Column heads of the table of settings."""
    metric = next((c.metric for c in candidates if c.metric), "accuracy")
    paired = ["against the chosen"] if any(c.behind for c in candidates) else []
    return [*candidates[0].varied, "seeds", f"validation {LABELS[metric]}", "over seeds", *paired, "mode", ""]


def row(candidate: Candidate, paired: bool) -> list[str]:
    """Cells of one setting.

    Args:
        candidate: the setting.
        paired: whether there is a column for paired differences.

    Returns:
        As many cells as `heads` has.
    """
    done = sum(state == "finished" for state in candidate.seeds.values())
    states = sorted({state for state in candidate.seeds.values() if state != "finished"})
    seeds = f"{done} of {len(candidate.seeds)}" + (f" ({', '.join(states)})" if states else "")
    metric, spread = candidate.metric or "accuracy", candidate.spread
    span = "–"
    if spread is not None:
        low, high = (format_score(value, math.nan, metric) for value in (spread.low, spread.high))
        span = f"{low} – {high}" if spread.seeds > 1 else "one seed"
    behind = "–" if candidate.behind is None else _gap(candidate.behind, metric)
    mean = format_score(candidate.mean, candidate.ci95, metric) if spread is not None else "–"
    values = [str(value) for value in candidate.varied.values()]
    mark = "← chosen" if candidate.chosen else ""
    return [*values, seeds, mean, span, *([behind] if paired else []), candidate.mode or "–", mark]


def note(candidates: Sequence[Candidate]) -> str:
    """What the intervals of the table range over.

    Args:
        candidates: the settings.

    Returns:
        One paragraph.
    """
    said = "± of a score is half of the 95% interval over validation tasks, for the weights of these seeds."
    gaps = [candidate.behind for candidate in candidates if candidate.behind is not None]
    if not gaps:
        return said
    over = " and ".join(dict.fromkeys(gap.ranges_over for gap in gaps))
    alone = f"; a single seed speaks of {WEIGHTS} alone" if any(gap.about == WEIGHTS for gap in gaps) else ""
    return (
        f"{said} against the chosen: the difference on the same tasks, its 95% interval over {over}{alone}. Each "
        "is for one pair, and the chosen one is the best of all, which favours it: an interval that excludes 0 is no "
        "proof."
    )


def _gap(gap: Difference, metric: str) -> str:
    sign = "−" if gap.mean < 0 else "+"
    text = format_score(abs(gap.mean), gap.ci95, metric)
    return f"{sign}{text}{f', {WEIGHTS}' if gap.about == WEIGHTS else ''}"


def _candidate(first: Member, seeds: dict[int, str], scores: list[Score]) -> Candidate:
    empty = Candidate(first.setting, first.varied, seeds)
    if not scores:
        return empty
    spread = seed_spread([score.mean for score in scores])
    by_task = tuple(score.per_task for score in scores if score.per_task is not None)
    if len(by_task) == len(scores):
        # The same tasks for every seed: their mean over seeds, then the interval over tasks.
        ci95 = mean_interval(np.mean(by_task, axis=0))[1]
    else:
        # A run validates on tasks of its own seed: independent means.
        ci95 = math.hypot(*(math.nan if s.ci95 is None else s.ci95 for s in scores)) / len(scores)
    return replace(
        empty,
        metric=scores[0].metric,
        mode=scores[0].mode,
        mean=spread.mean,
        ci95=ci95,
        spread=spread,
        per_task=by_task if len(by_task) == len(scores) else None,
        deterministic=all(score.deterministic for score in scores),
    )


def _against(candidate: Candidate, best: Candidate | None) -> Candidate:
    if candidate is best:
        return replace(candidate, chosen=True)
    if best is None or candidate.per_task is None or best.per_task is None:
        return candidate
    known = (candidate.deterministic, best.deterministic)
    return replace(candidate, behind=difference(candidate.per_task, best.per_task, deterministic=known))
