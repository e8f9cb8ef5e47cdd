"""Small reports that the tests of the meta-learners' pages share."""

from __future__ import annotations

import itertools

import numpy as np
import torch

from experiments.meta_learners.facts import Facts
from experiments.meta_learners.page import page
from experiments.meta_learners.plan import Method
from experiments.meta_learners.report import Report
from experiments.meta_learners.scores import scored
from metaft.evaluation.comparison import Cell
from metaft.evaluation.result import Result
from metaft.evaluation.statistics import summarise


def cell(label: str, seed: int, shots: int, per_task: list[float], mode: str = "transductive", steps: int = 1) -> Cell:
    values = torch.tensor(per_task, dtype=torch.float64)
    metric = "mse" if steps > 1 else "accuracy"
    summaries = tuple(summarise(values + steps - 1 - k) for k in range(steps))
    result = Result(metric, mode == "transductive", values, summaries, (), 1.0, {"name": "maml"}, {}, 1.0)
    return Cell(label, seed, shots, "sum", 0.001, None, result)


def report() -> Report:
    told = {"mode": "transductive", "5-way 1-shot": "98.7 ± .4", "5-way 5-shot": "91.5", "tasks": {"5-way": 1000},
            "5 shots, step 1": "1.13 ± .18"}  # fmt: skip
    maml = Method("maml", "MAML", "", ("5-way", "sinusoid"), published=told)
    cells = [cell(f"maml {mode}", seed, shots, [0.9, 0.92 + seed / 50], mode)
             for mode in ("inductive", "transductive") for seed in (0, 1) for shots in (1, 5)]  # fmt: skip
    waves = [cell("maml inductive", seed, shots, [1.0, 2.0], "inductive", 11) for seed in (0, 1) for shots in (5, 10)]
    ran = Facts(10, 100, 60.0, 0.95, 0.93, 0.01, np.array([[1.0, 0.5], [60.0, 0.93]]), 0, "AMD EPYC")
    scores = {"5-way": scored("5-way", "maml", cells), "sinusoid": scored("sinusoid", "maml", waves)}
    return Report(
        {"maml": maml}, {("maml", "5-way"): [ran]}, scores, {"5-way": 1.0, "sinusoid": 1.0}, "maml", {"x": "why"}
    )


def table_of(told: Report, first: str) -> tuple[list[str], list[list[str]]]:
    """Heads and rows of the table on the page whose heads begin with some text."""
    lines = page(told, [], "").splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith(f"| {first}"))
    table = list(itertools.takewhile(lambda line: line.startswith("|"), lines[start:]))
    heads, _, *rows = ([cell.strip() for cell in line.strip("|").split(" | ")] for line in table)
    return heads, rows


def gap_lines(told: Report) -> list[str]:
    """The paragraphs of the page on gaps."""
    return [line for line in page(told, [], "").splitlines() if line.startswith("- **")]
