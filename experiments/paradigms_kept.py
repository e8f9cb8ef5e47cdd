"""The tables of results/paradigms-*.{md,json} with today's verdicts, from the scores that were kept.

Of each learner the mean over tasks, the spread over seeds and the paired difference to the baseline with its interval
over tasks were kept, not the scores task by task. So the interaction of seeds and tasks is not known; taken for 0, the
interval over tasks and seeds (`metaft.evaluation.difference`) is at least as wide as it should be.

Command: python -m experiments.paradigms_kept   (also prints the differences that results/paradigms.md reads from them)
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from metaft.evaluation.difference import BOTH, METHOD, Difference, Spreading, half_width
from metaft.evaluation.report import format_score
from metaft.files import write_atomically
from metaft.runs.reading import read_json

PAGES = ("paradigms-5way", "paradigms-20way", "paradigms-linearised")
NOTE = (
    "{tasks} tasks at each number of shots, the same for every learner; higher is better. ± of a score is half of the 95% interval over "
    "tasks, of each task's mean over seeds; min–max is over the seeds' means, – where there are no seeds. against {baseline}: the "
    "difference on the same tasks; better or worse where its 95% interval, over tasks and seeds ([how](statistics.md)), excludes 0. "
    "± ≤: the scores task by task were not kept, so that the interaction of seeds and tasks is not known; without it the interval is "
    "at most so wide. Each verdict is for one pair: of twenty pairs of equal methods one is expected to be told apart. adapts: numbers "
    "that change per task. ms a task: to adapt and answer once. peak MB: resident memory added. Made by the command above; the "
    "intervals of the differences were made anew from its numbers by `python -m experiments.paradigms_kept`."
)
READ = (
    ("paradigms-5way", "1", "class means", "features + logistic"),
    ("paradigms-5way", "1", "class means", "features + linear SVM"),
    ("paradigms-5way", "1", "class means", "features + random forest"),
    ("paradigms-5way", "5", "class means", "features + random forest"),
    ("paradigms-5way", "1", "class means", "fine-tune everything"),
    ("paradigms-5way", "1", "class means", "MAML (transductive)"),
    ("paradigms-5way", "1", "class means", "MAML (inductive)"),
    ("paradigms-5way", "5", "class means", "MAML (transductive)"),
    ("paradigms-5way", "5", "class means", "MAML (inductive)"),
    ("paradigms-5way", "1", "MAML (transductive)", "MAML (inductive)"),
    ("paradigms-5way", "1", "MAML (transductive)", "first-order MAML (transductive)"),
    ("paradigms-5way", "1", "fine-tune everything", "everything with KL to the start"),
    ("paradigms-20way", "1", "class means", "features + logistic"),
    ("paradigms-20way", "1", "class means", "features + linear SVM"),
    ("paradigms-20way", "5", "class means", "features + logistic"),
    ("paradigms-20way", "5", "class means", "features + linear SVM"),
    ("paradigms-20way", "1", "class means", "features + random forest"),
    ("paradigms-20way", "5", "class means", "features + random forest"),
    ("paradigms-20way", "1", "fine-tune the last 2 blocks", "fine-tune everything"),
    ("paradigms-20way", "5", "fine-tune the last 2 blocks", "fine-tune everything"),
    ("paradigms-20way", "1", "class means", "MAML (transductive)"),
    ("paradigms-20way", "1", "class means", "MAML (inductive)"),
    ("paradigms-20way", "5", "class means", "MAML (transductive)"),
)
"""Differences that results/paradigms.md speaks of and that no table has."""


@click.command()
@click.option(
    "--results", default="results", show_default=True, type=click.Path(path_type=Path), help="where pages are"
)
def main(results: Path) -> None:
    """Make the verdicts of the tables anew."""
    for name in PAGES:
        renew(results / f"{name}.json", results / f"{name}.md")
    for name, shots, first, second in READ:
        rows = {label: entry["shots"][shots] for label, entry in read_json(results / f"{name}.json")["results"].items()}
        gap = apart(rows[first], rows[second])
        click.echo(
            f"{name} {shots} shots: {first} − {second}: {100 * gap.mean:+.2f} ± ≤ {100 * gap.ci95:.2f} {_clear(gap)}"
        )


def renew(file: Path, page: Path) -> None:
    """Write a comparison's differences anew, in its JSON and its page."""
    found = read_json(file)
    baseline = found["baseline"]
    text = page.read_text(encoding="utf-8").split("\n")
    for label, entry in found["results"].items():
        for shots, row in entry["shots"].items():
            if row["gap"] is None:
                continue
            gap = against(row, found["results"][baseline]["shots"][shots])
            row["gap"] |= {"ranges_over": "tasks"}
            row["difference"] = {"mean": gap.mean, "ci95_at_most": gap.ci95, "ranges_over": BOTH, "about": METHOD,
                                 "seeds": list(gap.seeds)}  # fmt: skip
            row["verdict"] = gap.verdict(higher_is_better=True)
            _replace(text, label, shots, _cell(gap, row["verdict"]))
    end = next(n for n, line in enumerate(text) if line.startswith(f"{found['tasks']} tasks at each"))
    text[end] = NOTE.format(tasks=found["tasks"], baseline=baseline)
    write_atomically(page, "\n".join(text).encode())
    write_atomically(file, (json.dumps(found, indent=1, ensure_ascii=False) + "\n").encode())


def against(row: Mapping[str, Any], baseline: Mapping[str, Any]) -> Difference:
    """A kept paired difference, its interval over tasks and seeds."""
    gap = row["gap"]
    half = half_width(gap["ci95"], gap["count"], _spreads(row, baseline))
    return Difference(
        gap["mean"], half, gap["median"], gap["count"], gap["diverged"], BOTH, METHOD, _seeds(row, baseline)
    )


def apart(first: Mapping[str, Any], second: Mapping[str, Any]) -> Difference:
    """The difference of two rows of which no paired one was kept: over tasks at most the sum of their half widths."""
    one, other = first["score"], second["score"]
    half = half_width(one["ci95"] + other["ci95"], one["count"], _spreads(first, second))
    return Difference(
        one["mean"] - other["mean"], half, float("nan"), one["count"], 0, BOTH, METHOD, _seeds(first, second)
    )


def _spreads(*rows: Mapping[str, Any]) -> list[Spreading]:
    several = [row["seeds"] for row in rows if row["seeds"] is not None]
    return [Spreading(seeds["std"] ** 2 / seeds["seeds"], seeds["seeds"] - 1, 0.0) for seeds in several]


def _seeds(*rows: Mapping[str, Any]) -> tuple[int, int]:
    first, second = (1 if row["seeds"] is None else row["seeds"]["seeds"] for row in rows)
    return first, second


def _cell(gap: Difference, verdict: str) -> str:
    sign = "−" if gap.mean < 0 else "+"
    return f"{sign}{format_score(abs(gap.mean), gap.ci95, 'accuracy')} {verdict}".replace("± ", "± ≤").rstrip()


def _clear(gap: Difference) -> str:
    return "clear" if gap.verdict(higher_is_better=True) else "not clear from what was kept"


def _replace(text: list[str], label: str, shots: str, cell: str) -> None:
    """Put a difference into the fourth column of a learner's row at some number of shots."""
    start = next(n for n, line in enumerate(text) if line.startswith("## ") and line.endswith(f" {shots}-shot"))
    place = next(n for n, line in enumerate(text) if n > start and line.startswith(f"| {label} |"))
    cells = text[place].split(" | ")
    text[place] = " | ".join([*cells[:3], cell, *cells[4:]])


if __name__ == "__main__":
    main()
