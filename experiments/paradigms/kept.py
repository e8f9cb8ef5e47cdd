"""The tables of results/paradigms-*.{md,json} with today's verdicts, from the scores that were kept.

Of each learner the mean over tasks, the spread over seeds and the paired difference to the baseline with its interval
over tasks were kept, not the scores task by task. So the interaction of seeds and tasks is not known; taken for 0, the
interval over tasks and seeds (`metaft.evaluation.difference`) is at least as wide as it should be.

Command: python -m experiments.paradigms.kept   (also prints the differences that results/paradigms.md reads from them)
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from experiments.pages import folder_option, render
from metaft.evaluation.difference import BOTH, METHOD, Difference, Spreading, half_width
from metaft.evaluation.report import format_score
from metaft.files import write_atomically
from metaft.runs.reading import read_json

Row = Mapping[str, Any]
PLAN = Path(__file__).with_name("plan.toml")
PAGES = ("paradigms-5way", "paradigms-20way", "paradigms-linearised")


@click.command()
@folder_option("results", "results", "where pages are")
def main(results: Path) -> None:
    """Make the verdicts of the tables anew."""
    for name in PAGES:
        renew(results / f"{name}.json", results / f"{name}.md")
    for name, shots, first, second in tomllib.loads(PLAN.read_text(encoding="utf-8"))["read"]:
        found = read_json(results / f"{name}.json")["results"]
        gap = apart(*(found[label]["shots"][shots] for label in (first, second)))
        clear = "clear" if gap.verdict(higher_is_better=True) else "not clear from what was kept"
        click.echo(f"{name} {shots} shots: {first} − {second}: {100 * gap.mean:+.2f} ± ≤ {100 * gap.ci95:.2f} {clear}")


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
    text[end] = render("experiments/paradigms/note.md.j2", tasks=found["tasks"], baseline=baseline).rstrip()
    write_atomically(page, "\n".join(text).encode())
    write_atomically(file, (json.dumps(found, indent=1, ensure_ascii=False) + "\n").encode())


def against(row: Row, baseline: Row) -> Difference:
    """A kept paired difference, its interval over tasks and seeds."""
    gap = row["gap"]
    return _difference((row, baseline), *(gap[name] for name in ("mean", "ci95", "median", "count", "diverged")))


def apart(first: Row, second: Row) -> Difference:
    """The difference of two rows of which no paired one was kept: over tasks at most the sum of their half widths."""
    one, other = first["score"], second["score"]
    gap, half = one["mean"] - other["mean"], one["ci95"] + other["ci95"]
    return _difference((first, second), gap, half, float("nan"), one["count"], 0)


def _difference(rows: Sequence[Row], mean: float, ci95: float, median: float, count: int, diverged: int) -> Difference:
    """Of two rows, from the half width of their difference over tasks."""
    seeds = [row["seeds"] for row in rows]
    spreads = [Spreading(one["std"] ** 2 / one["seeds"], one["seeds"] - 1, 0.0) for one in seeds if one is not None]
    counts = tuple(1 if one is None else one["seeds"] for one in seeds)
    return Difference(mean, half_width(ci95, count, spreads), median, count, diverged, BOTH, METHOD, counts)


def _cell(gap: Difference, verdict: str) -> str:
    sign = "−" if gap.mean < 0 else "+"
    return f"{sign}{format_score(abs(gap.mean), gap.ci95, 'accuracy')} {verdict}".replace("± ", "± ≤").rstrip()


def _replace(text: list[str], label: str, shots: str, cell: str) -> None:
    """Put a difference into the fourth column of a learner's row at some number of shots."""
    start = next(n for n, line in enumerate(text) if line.startswith("## ") and line.endswith(f" {shots}-shot"))
    place = next(n for n, line in enumerate(text) if n > start and line.startswith(f"| {label} |"))
    cells = text[place].split(" | ")
    text[place] = " | ".join([*cells[:3], cell, *cells[4:]])


if __name__ == "__main__":
    main()
