"""The page of statistics: what every interval means, and how often equal methods are told apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from metaft.evaluation.report import markdown_table

SHOWN = (1, 2, 3, 5, 10)
"""Numbers of seeds in the table; the JSON has all."""

INTERVALS = (
    ("a score (`evaluate`, `compare`, a sweep's setting)", "tasks; these weights",
     "Student's t over tasks of each task's mean over seeds, T − 1 degrees of freedom"),
    ("a difference in `compare`, and in a sweep that validates", "tasks and seeds, where a learner has several seeds; "
     "else tasks, marked *these weights*", "below"),
    ("a distillation's gain in `distillation.json`", "test examples or tasks; these weights", "paired Student's t over examples or tasks"),
    ("differences in [distillation](distillation.md)", "seeds; the one set of test examples or tasks is fixed",
     "Student's t over seeds, each difference within a seed: the task-by-task scores were not kept"),
    ("differences in [paradigms](paradigms.md)", "tasks and seeds, at most (*±≤*)",
     "below, with 0 for the interaction, as the task-by-task scores were not kept"),
    ("min–max, range over seeds", "no interval: the smallest and the largest seed", "–"),
    ("a run's validation score", "validation tasks; these weights", "Student's t over tasks"),
    ("`metaft repeat`", "validation tasks; two runs of the same seed", "the two half widths together, √(a² + b²)"),
)  # fmt: skip


def page(found: Mapping[str, Any]) -> str:
    """The page, from the numbers of results/statistics.json alone.

    Args:
        found: what that holds.

    Returns:
        Markdown.
    """
    results = found["results"]
    layouts = results["drawn"]["layouts"]
    several = [one for one in layouts if one["seeds"] > 1]
    worst = max(several, key=lambda one: one["ours"]["false"])
    pairs = found["pairs"]
    return f"""# Statistics: what an interval means

Every ± of a mean or of a difference is half of a 95% interval. What it ranges over differs:

{markdown_table(["interval", "ranges over", "how"], INTERVALS)}
## The difference of two learners

Scores are x[s, t] of seed s on task t. Both learners answer the same tasks; their seeds are independent of each other, unless
`--paired-seeds` says that seed s of both stands on the same thing. Tasks and seeds are draws (two-way random effects). The
variance of the difference of the means is

σ²_task / T + Σ (σ²_seed + σ²_seed·task / T) / S, a sum over the learners with several seeds,

and the interval gives each of the two terms Student's factor of its own degrees of freedom:

half² = t²(T − 1) · max(0, s² − Σ MS / S) / T + t²(ν) · Σ v,

- s²: the variance over tasks of the differences of each task's means over seeds;
- MS: a learner's interaction mean square, from what is left of its scores without the means of rows and columns;
- v: the variance of a learner's seeds' means, over S. It estimates (σ²_seed + σ²_seed·task / T) / S, so that the interaction
  stands in the second term and is taken out of the first;
- ν = (Σ v)² / Σ (v² / (S − 1)), after Satterthwaite (1946), where both have as many seeds; else every v has its own factor
  t²(S − 1), after Banerjee (1960).

A factor for each term is Banerjee's: whatever the shares of the terms are, the false rate is at most 5% for known degrees of
freedom. One number of degrees of freedom for all components together, as Satterthwaite's formula is mostly used, was tried:
where two seeds come out close to each other by chance, it says that the tasks decide, and ν is near T − 1. Of equal methods
it tells up to {_worst(results, "one freedom")} apart (below). Further:

- **A learner without randomness** (no weights and no seed, such as nearest neighbours on pixels) has no term of its own: its one
  "seed" stands for all. Whether it is one is read from what it says of itself; a single seed of anything else is not.
- **One seed** says nothing about other seeds. The difference then ranges over tasks and is marked *these weights*: it tells these
  networks apart, not the methods.
- **Each verdict is for one pair.** Of twenty pairs of equal methods one is expected to be told apart; a table of twenty rows
  against one baseline is twenty verdicts. A sweep's chosen setting is the best of all, which favours it.
- Tasks on which a regression diverged with any seed are left out of the difference, and counted.

## How often equal methods are told apart

{pairs:,} pairs a cell of two methods with the same mean, drawn from normal effects: deviation between seeds as given (points of
accuracy), 5 points for a seed on a task beside that. 5% is right; less is caution.

{_table(layouts)}
With one seed the verdict is of these weights: the first number is how often the two *networks* would be told apart wrongly, and
the second how often the two *methods* would be, if it were read so.

Highest of all {len(several)} cells with 2 to 10 seeds: {_percent(worst["ours"]["false"])} ({worst["seeds"]} seeds, {worst["tasks"]} tasks,
deviation {worst["deviation"]:g}). Lowest: {_percent(min(one["ours"]["false"] for one in several))}: two seeds have one degree of freedom each, and what
holds for any spread between them is wide. With 600 tasks and a deviation of 1 point, of three forms:

{_forms(several)}
*wide*: the median half width over that of somebody who knows the variance.

Where the two methods are unlike, 600 tasks unless said:

{_corners(results["corners"]["layouts"])}
The highest of these, {_percent(max(one["ours"]["false"] for one in results["corners"]["layouts"]))}, is where ν is estimated from two seeds each whose spreads are unlike.

Whole matrices of counted answers (50 queries a task, tasks of unlike difficulty, 100 tasks, so not normal):

{_whole(results["whole"]["layouts"])}
## Real pairs of equal methods

Networks of one method that differ in their seed alone, divided by chance into two "methods" of a few seeds,
{found["splits"]:,} times. The divisions share networks, so these shares are rougher than their number suggests.

{_real(results["real"]["pools"])}
Satterthwaite: An approximate distribution of estimates of variance components, Biometrics Bulletin 2 (1946). Banerjee: Approximate
confidence interval for linear functions of means of k populations when the population variances are not equal, Sankhyā 22
(1960). Scheffé: The analysis of variance (1959), ch. 7. The code: `metaft/evaluation/difference.py`.

Command: `{found["command"]}`. All cells, seeds, versions and machine: `statistics.json`.
"""


def _table(layouts: Sequence[Mapping[str, Any]]) -> str:
    counts = sorted({one["tasks"] for one in layouts})
    rows = []
    for seeds in SHOWN:
        for deviation in sorted({one["deviation"] for one in layouts}):
            cells = []
            for tasks in counts:
                (one,) = [e for e in layouts if (e["seeds"], e["tasks"], e["deviation"]) == (seeds, tasks, deviation)]
                text = _percent(one["ours"]["false"])
                cells.append(text if seeds > 1 else f"{_percent(one['ours']['missed'])}, {text}")
            rows.append([str(seeds) if seeds > 1 else "1: these weights, the method", f"{deviation:g}", *cells])
    return markdown_table(["seeds of each", "deviation", *(f"{tasks:,} tasks" for tasks in counts)], rows)


def _forms(several: Sequence[Mapping[str, Any]]) -> str:
    rows = []
    for one in several:
        if (one["tasks"], one["deviation"]) == (600, 1.0) and one["seeds"] in SHOWN:
            rows.append([one["seeds"], *(cell for form in ("ours", "one freedom", "tasks alone") for cell in
                        (_percent(one[form]["false"]), f"{one[form]['wide']:.2f}"))])  # fmt: skip
    heads = [
        "seeds of each",
        "told apart",
        "wide",
        "one ν for all: told apart",
        "wide",
        "over tasks alone: told apart",
        "wide",
    ]
    return markdown_table(heads, rows)


def _corners(layouts: Sequence[Mapping[str, Any]]) -> str:
    rows = [
        [
            one["name"],
            "/".join(f"{d:g}" for d in one["deviations"]),
            *(_percent(one[form]["false"]) for form in ("ours", "one freedom", "tasks alone")),
        ]
        for one in layouts
    ]
    return markdown_table(["pair", "deviations", "told apart", "one ν for all", "over tasks alone"], rows)


def _whole(layouts: Sequence[Mapping[str, Any]]) -> str:
    deviations = sorted({one["deviation"] for one in layouts})
    rows = []
    for seeds in sorted({one["seeds"][0] for one in layouts}):
        found = {one["deviation"]: one["false"] for one in layouts if one["seeds"][0] == seeds}
        rows.append([seeds, *(_percent(found[deviation]) for deviation in deviations)])
    return markdown_table(["seeds of each", *(f"deviation {deviation:g}" for deviation in deviations)], rows)


def _real(pools: Mapping[str, Mapping[str, Any]]) -> str:
    rows = []
    for name, pool in pools.items():
        for seeds, told in pool["seeds"].items():
            ours = _percent(told["ours"]) + (" (these weights)" if seeds == "1" else "")
            rows.append([f"{name} ({pool['what']})", _deviation(pool), seeds, ours, _percent(told["tasks alone"])])
    return markdown_table(
        ["method", "deviation between seeds", "seeds of each", "told apart", "over tasks alone"], rows
    )


def _deviation(pool: Mapping[str, Any]) -> str:
    value = pool["deviation"]
    return f"{100 * value:.2f} points" if "accuracy" in pool["what"] else f"{value:.3g}"


def _worst(results: Mapping[str, Any], form: str) -> str:
    cells = [*(one for one in results["drawn"]["layouts"] if form in one), *results["corners"]["layouts"]]
    return _percent(max(one[form]["false"] for one in cells))


def _percent(share: float) -> str:
    return f"{100 * share:.1f}%"
