"""A comparison as plain records, for CSV and data frames, and as a LaTeX table."""

from __future__ import annotations

import csv
import io
import math
from typing import Any

from metaft.evaluation.comparison import Comparison, Row
from metaft.evaluation.difference import WEIGHTS
from metaft.evaluation.report import LABELS, describe_family, format_score

_SPECIAL = {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$", "−": "$-$",
    "–": "--", "α": r"$\alpha$", "β": r"$\beta$", "λ": r"$\lambda$", "×": r"$\times$", "³": r"$^3$",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
}  # fmt: skip


def records(comparison: Comparison) -> list[dict[str, Any]]:
    """All rows of all tables as plain values.

    Args:
        comparison: what to tell.

    Returns:
        A record a learner and number of shots, all with the same names: scores and differences as they are (an
        accuracy in [0, 1]), seconds, bytes. None where there is no such number.
    """
    return [_record(comparison, row) for shots in comparison.shots for row in comparison.rows(shots)]


def csv_text(comparison: Comparison) -> str:
    """The records as CSV, with a line of heads.

    Args:
        comparison: what to tell.

    Returns:
        Lines; what is None is empty.
    """
    page, rows = io.StringIO(), records(comparison)
    write = csv.DictWriter(page, list(rows[0]), lineterminator="\n")
    write.writeheader()
    write.writerows(rows)
    return page.getvalue()


def told_best(comparison: Comparison, shots: int) -> str | None:
    """The learner that is better than every other one, as far as the intervals say.

    Args:
        comparison: of learners.
        shots: at which number.

    Returns:
        The label of the best score, if the 95% interval of its paired difference to each other learner excludes 0;
        None otherwise, or if it is alone.
    """
    rows = [row for row in comparison.rows(shots) if math.isfinite(row.score.mean)]
    if len(rows) < 2:
        return None
    higher = comparison.metric == "accuracy"
    best = max(rows, key=lambda row: row.score.mean if higher else -row.score.mean).label
    others = (label for label in comparison.labels if label != best)
    clear = all(comparison.gap(best, other, shots).verdict(higher) == "better" for other in others)
    return best if clear else None


def latex_table(comparison: Comparison) -> str:
    """The scores as a LaTeX table, for the package booktabs.

    Args:
        comparison: what to tell.

    Returns:
        A ``table``: a row a learner, a column a number of shots; the best score in bold where `told_best` says it.
    """
    best = {shots: told_best(comparison, shots) for shots in comparison.shots}
    rows = {shots: {row.label: row for row in comparison.rows(shots)} for shots in comparison.shots}
    lines = []
    for label in comparison.labels:
        scores = [_latex_score(rows[shots][label], comparison, best[shots] == label) for shots in comparison.shots]
        lines.append(" & ".join([latex(label), rows[comparison.shots[0]][label].mode, *scores]) + r" \\")
    heads = [f"{shots} {'shot' if shots == 1 else 'shots'}" if shots else "score" for shots in comparison.shots]
    seeds = max(len(comparison.of(label, comparison.shots[0])) for label in comparison.labels)
    of_seeds = f", of each task's mean over {seeds} seeds" if seeds > 1 else ""
    gaps = [row.gap for by_label in rows.values() for row in by_label.values() if row.gap is not None]
    whose = " A learner with one seed is judged by these weights." if any(g.about == WEIGHTS for g in gaps) else ""
    caption = (
        f"{describe_family(comparison.family)}: {LABELS[comparison.metric]}, mean and half of its 95% interval over "
        f"{comparison.tasks} tasks{of_seeds}. In bold: the best, where the 95% interval of its paired difference to "
        f"each other learner excludes 0.{whose}"
    )
    return "\n".join([
        r"% \usepackage{booktabs}",
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{latex(caption)}}}",
        rf"\begin{{tabular}}{{ll{'r' * len(heads)}}}",
        r"\toprule",
        " & ".join(["learner", "mode", *heads]) + r" \\",
        r"\midrule",
        *lines,
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]) + "\n"  # fmt: skip


def latex(text: str) -> str:
    """A text with LaTeX's own signs escaped, on one line."""
    return "".join(_SPECIAL.get(sign, sign) for sign in " ".join(text.split()))


def _latex_score(row: Row, comparison: Comparison, bold: bool) -> str:
    text = format_score(row.score.mean, row.score.ci95, comparison.metric)
    mean, sign, half = text.partition(" ± ")
    return (rf"\textbf{{{mean}}}" if bold else mean) + (rf" $\pm$ {half}" if sign else "")


def _record(comparison: Comparison, row: Row) -> dict[str, Any]:
    gap, seeds = row.gap, row.seeds
    return {
        "learner": row.label,
        "shots": row.shots,
        "metric": comparison.metric,
        "mean": _finite(row.score.mean),
        "ci95": _finite(row.score.ci95),
        "median": _finite(row.score.median),
        "tasks": comparison.tasks,
        "diverged": row.score.diverged,
        "seeds": 1 if seeds is None else seeds.seeds,
        "worst_seed": None if seeds is None else _finite(_worst(comparison, row)),
        "best_seed": None if seeds is None else _finite(_best(comparison, row)),
        "baseline": comparison.baseline,
        "difference": None if gap is None else _finite(gap.mean),
        "difference_ci95": None if gap is None else _finite(gap.ci95),
        "verdict": row.verdict or None,
        "verdict_about": None if gap is None else gap.about,
        "interval_over": None if gap is None else gap.ranges_over,
        "mode": row.mode,
        "adapts": row.adapts,
        "parameters": row.parameters,
        "bytes_per_task": row.bytes_per_task,
        "seconds_per_task": row.seconds_per_task,
        "peak_bytes": row.peak_bytes,
        "tasks_sha256": comparison.checksums[row.shots],
    }


def _worst(comparison: Comparison, row: Row) -> float:
    assert row.seeds is not None
    return row.seeds.low if comparison.metric == "accuracy" else row.seeds.high


def _best(comparison: Comparison, row: Row) -> float:
    assert row.seeds is not None
    return row.seeds.high if comparison.metric == "accuracy" else row.seeds.low


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
