"""Numbers by seed as text: means with their intervals, paired gains, and whether these are clear."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from metaft.evaluation.statistics import mean_interval

BySeed = dict[int, float]


def by_seed(rows: Iterable[Mapping[str, Any]], key: str, **wanted: Any) -> BySeed:
    """One number a seed.

    Args:
        rows: of results/distillation.json.
        key: which number.
        wanted: what the rows have to say, ``run="labels"`` for instance.

    Returns:
        Seed → number, of the rows that have it.
    """
    alike = [row for row in rows if all(row.get(name) == value for name, value in wanted.items())]
    return {row["seed"]: row[key] for row in sorted(alike, key=lambda row: row["seed"]) if row.get(key) is not None}


def mean_of(found: BySeed, digits: int, unit: float = 1) -> str:
    """The mean over seeds and its 95% interval, in units of ``unit``; "–" for none."""
    if not found:
        return "–"
    mean, half = mean_interval([value / unit for value in found.values()])
    return f"{mean:.{digits}f}" + ("" if math.isnan(half) else f" ± {half:.{digits}f}")


def percent(found: BySeed) -> str:
    """Accuracies in per cent."""
    return mean_of(found, 2, 0.01)


def points(found: BySeed, first: BySeed) -> list[float]:
    """Differences of accuracies in points, of the seeds that both have."""
    return [100 * (value - first[seed]) for seed, value in found.items() if seed in first]


def gain(found: BySeed, first: BySeed) -> str:
    """The mean difference in points, in bold where its interval over seeds excludes 0; "–" for none."""
    gaps = points(found, first)
    if not gaps or found == first:
        return "–"
    mean, half = mean_interval(gaps)
    text = f"{mean:+.2f}" + ("" if math.isnan(half) else f" ± {half:.2f}")
    return f"**{text}**" if abs(mean) > half else text


def verdict(what: str, gaps: list[float], unit: str = "points") -> str:
    """A sentence's end: how large a difference is, and whether it is clear; empty for fewer than two seeds."""
    if len(gaps) < 2:
        return ""
    mean, half = mean_interval(gaps)
    return f"{what}: {mean:+.2f} ± {half:.2f} {unit}, {'clear' if abs(mean) > half else 'within the seed spread'}"
