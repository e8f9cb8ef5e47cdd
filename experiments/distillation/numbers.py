"""Numbers by seed as text: means with their intervals, paired gains, and whether these are clear.

An interval over seeds says what other seeds would come to on the *same* test examples or tasks. Which examples were
answered rightly was not kept, so for other examples too the interval is known only to be at most so wide.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from metaft.evaluation.statistics import mean_interval, student_t95

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
    return _text(*mean_interval([value / unit for value in found.values()]), digits)


def _text(mean: float, half: float, digits: int, sign: str = "") -> str:
    return f"{mean:{sign}.{digits}f}" + ("" if math.isnan(half) else f" ± {half:.{digits}f}")


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
    text = _text(*mean_interval(gaps), 2, "+")
    return f"**{text}**" if is_clear(gaps) else text


def is_clear(gaps: list[float]) -> bool:
    """Whether the interval over seeds excludes 0."""
    mean, half = mean_interval(gaps)
    return abs(mean) > half


def verdict(what: str, gaps: list[float], unit: str = "points", over_examples: float | None = None) -> str:
    """A sentence's end: how large a difference is, and whether it is clear; empty for fewer than two seeds.

    Args:
        what: is compared.
        gaps: differences within a seed.
        unit: of these.
        over_examples: half width of their mean's interval over test examples, at most, see `over_examples` and
            `over_tasks`; None if nothing is known.

    Returns:
        The mean difference with its interval over seeds, what that is at most with other examples, and "clear" if it
        excludes 0 with other examples too, "clear on these examples" if it does so for other seeds alone.
    """
    if len(gaps) < 2:
        return ""
    mean, half = mean_interval(gaps)
    text = f"{what}: {mean:+.2f} ± {half:.2f} {unit}"
    if over_examples is None:
        return f"{text}, {'clear on these examples' if abs(mean) > half else 'within the seed spread'}"
    whole = math.hypot(half, over_examples)  # as `metaft.evaluation.difference`: a factor of its own for each term
    word = "clear" if abs(mean) > whole else "clear on these examples" if abs(mean) > half else "within the seed spread"
    return f"{text} (other examples too: ± ≤ {whole:.2f}), {word}"


def over_examples(found: BySeed, first: BySeed, count: int, unit: float = 100.0) -> float | None:
    """How wide the interval of a difference of accuracies can be over test examples.

    Two networks cannot disagree on more examples than both err on, so the variance of the difference on one example is
    at most the sum of their error rates; that of a mean over seeds is not larger than the mean of theirs.

    Args:
        found: accuracies by seed.
        first: those of the other method.
        count: test examples.
        unit: points a share, or examples.

    Returns:
        The half width of the 95% interval; None without accuracies.
    """
    if not found or not first:
        return None
    rates = [1 - sum(values) / len(values) for values in (list(found.values()), list(first.values()))]
    return unit * student_t95(count - 1) * math.sqrt(sum(rates) / count)


def over_tasks(halves: Iterable[float]) -> float | None:
    """How wide the interval of a difference can be over few-shot tasks: the sum of those of the two scores.

    Args:
        halves: half widths of networks' intervals over tasks, of both methods: the widest stands for each.

    Returns:
        In points; None without any.
    """
    widest = max(halves, default=None)
    return None if widest is None else 2 * 100 * widest
