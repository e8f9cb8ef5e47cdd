"""A comparison as CSV and as a LaTeX table, and which learner is told as the best."""

from __future__ import annotations

import csv
import io
import math

from metaft.evaluation.comparison import Comparison, Row
from metaft.evaluation.difference import WEIGHTS
from metaft.evaluation.report import LABELS, describe_family, format_score

_SPECIAL = {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$", "−": "$-$",
    "–": "--", "α": r"$\alpha$", "β": r"$\beta$", "λ": r"$\lambda$", "×": r"$\times$", "³": r"$^3$",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
}  # fmt: skip


def csv_text(comparison: Comparison) -> str:
    """The records as CSV, with a line of heads.

    Args:
        comparison: what to tell.

    Returns:
        Lines; what is None is empty.
    """
    page, rows = io.StringIO(), comparison.records()
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
    (best, score), *others = comparison.ranking(shots)
    if not others or not math.isfinite(score.mean):
        return None
    higher = comparison.metric == "accuracy"
    clear = all(comparison.gap(best, other, shots).verdict(higher) == "better" for other, _ in others)
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
