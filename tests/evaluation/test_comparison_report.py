from __future__ import annotations

import dataclasses
import io

import numpy as np
import pytest
from matplotlib.figure import Figure
from rich.console import Console

import metaft
from metaft.evaluation import comparison_plots as plots
from metaft.evaluation.comparison import Cell, Comparison
from metaft.evaluation.comparison_report import markdown, results, screen, table_rows
from metaft.evaluation.result import Result
from metaft.evaluation.statistics import summarise
from metaft.learners import NearestNeighbour
from tests.evaluation.toys import Blobs

STEPS = [0.2, 0.5, 0.6]


def cell(label: str, seed: int | None, shots: int, level: float, steps: list[float], metric: str = "accuracy") -> Cell:
    import torch

    rng = np.random.default_rng(shots)
    scores = [torch.tensor(level * step + 0.1 * rng.random(20)) for step in steps]
    result = Result(
        metric=metric,
        transductive=label == "walker",
        per_task=scores[-1],
        steps=tuple(summarise(values) for values in scores),
        diverged_tasks=(),
        seconds=1.0,
        learner={"name": label, "adapts": 1234, "parameters": 56789},
        family={"dataset": "blobs", "split": "test", "ways": 3, "shots": shots},
        answering_seconds=0.5,
    )
    return Cell(label, seed, shots, f"sum{shots}", 0.002 * shots, 3 * 2**20, result)


def comparison(shots: tuple[int, ...] = (1, 5, 10), metric: str = "accuracy") -> Comparison:
    cells = [cell("flat", None, s, 0.5, [1.0], metric) for s in shots]
    cells += [cell("walker", seed, s, 0.9 - 0.1 * seed, STEPS, metric) for seed in (0, 1) for s in shots]
    return Comparison(tuple(cells), "flat")


def shown(compared: Comparison, width: int) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(screen(compared, console))
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_the_table_says_it_all() -> None:
    compared = comparison()
    heads, rows = table_rows(compared, 5)
    flat, walker = (dict(zip(heads, row, strict=True)) for row in rows)
    row = compared.rows(5)[1]
    assert walker["accuracy, %"] == f"{100 * row.score.mean:.2f} ± {100 * row.score.ci95:.2f}"
    assert row.seeds is not None
    assert walker["seeds: min–max"] == f"{100 * row.seeds.low:.2f}–{100 * row.seeds.high:.2f}"
    assert (flat["against flat"], flat["seeds: min–max"]) == ("baseline", "–")
    assert row.gap is not None
    assert walker["against flat"].startswith("+" if row.gap.mean > 0 else "−")
    assert walker["against flat"].endswith(row.verdict)
    assert (flat["mode"], walker["mode"]) == ("inductive", "transductive")
    assert (walker["adapts"], walker["parameters"]) == ("1,234", "56,789")
    assert walker["kB a task"] == "4.9"
    assert (walker["ms a task"], walker["peak MB"]) == ("10", "3")


@pytest.mark.parametrize("width", [80, 100, 120, 200])
def test_a_narrow_terminal_is_given_whole_columns(width: int) -> None:
    text = shown(comparison(), width)
    assert max(map(len, text.splitlines())) <= width
    for row in comparison().rows(10):
        assert f"{100 * row.score.mean:.2f} ± {100 * row.score.ci95:.2f}" in text
        assert row.mode in text
    assert ("1,234" in text) == (width >= 100)
    assert ("56,789" in text) == (width >= 100)


def test_markdown_and_json() -> None:
    compared = comparison()
    page = markdown(compared, "metaft compare …", {"score against shots": "a.png"})
    assert page.count("| walker |") == 3
    assert "`sum5`" in page
    assert "![score against shots](a.png)" in page
    stored = results(compared)["walker"]["shots"]["10"]
    assert stored["score"]["mean"] == compared.rows(10)[1].score.mean
    assert stored["gap"]["count"] == 20


def lines(figure: Figure) -> dict[str, np.ndarray]:
    return {str(line.get_label()): np.asarray(line.get_ydata(), float) for line in figure.axes[0].get_lines()}


def test_pictures_show_the_rows() -> None:
    compared = comparison()
    drawn = lines(plots.against_shots(compared))
    expected = [100 * compared.rows(shots)[1].score.mean for shots in compared.shots]
    np.testing.assert_allclose(drawn["walker, transductive"], expected)
    steps = plots.against_steps(compared)
    assert steps is not None
    assert len(steps.axes) == 3
    np.testing.assert_allclose(lines(steps)["walker, transductive"], [100 * m for m, _ in compared.rows(1)[1].steps])
    assert len(lines(steps)["flat"]) == 2, "a level line"
    time = plots.against_time(compared)
    assert all(axes.get_xscale() == "log" for axes in time.axes)
    low, high = time.axes[0].get_xlim()
    assert low <= 0.002 < 0.02 <= high


def test_pictures_at_one_number_of_shots_and_without_steps() -> None:
    single = plots.against_shots(comparison(shots=(5,)))
    shown = [text.get_text().split("  ")[0] for text in single.axes[0].get_yticklabels()]
    assert shown == ["walker, transductive", "flat"], "the best above"
    assert plots.against_steps(metaft.compare({"nn": NearestNeighbour()}, Blobs(), tasks=3)) is None


def test_errors_get_a_logarithmic_axis_when_they_span_much() -> None:
    cells = [cell("good", None, s, 0.001, [1.0], "mse") for s in (1, 5)]
    cells = [dataclasses.replace(c, result=dataclasses.replace(c.result, steps=(summarise([0.001] * 3),),
             per_task=c.result.per_task * 0 + 0.001)) for c in cells]  # fmt: skip
    cells += [cell("bad", None, s, 4.0, [1.0], "mse") for s in (1, 5)]
    compared = Comparison(tuple(cells), "bad")
    assert plots.against_shots(compared).axes[0].get_yscale() == "log"
    assert "worse" not in shown(compared, 120).split("tasks at each")[0]
    assert "−" in shown(compared, 120)
