"""Pictures of many learners: every name can be read, near a ceiling scores are told apart."""

from __future__ import annotations

import dataclasses
from itertools import combinations, pairwise

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from matplotlib.text import Annotation, Text

from metaft.evaluation import comparison_plots as plots
from metaft.evaluation.comparison import Comparison
from metaft.evaluation.line_names import spread
from metaft.evaluation.statistics import summarise
from metaft.evaluation.style import GREY
from tests.evaluation.test_comparison_report import cell

LEVELS = np.linspace(0.95, 0.99, 22)


def many(shots: tuple[int, ...] = (1, 5)) -> Comparison:
    """22 learners between 95 and 99 per cent, and one without an error."""
    cells = []
    for number, level in enumerate([*LEVELS, 1.0]):
        for count in shots:
            one = cell(f"learner {number}", None, count, 0.5, [1.0])
            scores = torch.tensor([level - 0.001, min(level + 0.001, 1.0)] * 10, dtype=torch.float64)
            scores += level - scores.mean()
            result = dataclasses.replace(one.result, per_task=scores, steps=(summarise(scores),))
            cells.append(dataclasses.replace(one, result=result, seconds_per_task=0.001 * (number + 1)))
    return Comparison(tuple(cells), "learner 3")


def names(figure: Figure) -> dict[str, Annotation]:
    return {text.get_text(): text for axes in figure.axes[:1] for text in axes.texts if isinstance(text, Annotation)}


@pytest.mark.parametrize(("name", "shots"), [("against_shots", (1, 5)), ("against_time", (5,))])
def test_every_line_is_named_and_no_name_lies_on_another(name: str, shots: tuple[int, ...]) -> None:
    figure = getattr(plots, name)(many(shots))
    figure.draw_without_rendering()
    found = names(figure)
    assert {name.rpartition("  ")[0] for name in found} == {f"learner {n}" for n in range(23)}
    assert "learner 22  100.00" in found
    boxes = sorted((Text.get_window_extent(text) for text in found.values()), key=lambda box: box.y0)
    assert all(above.y0 >= below.y1 for below, above in pairwise(boxes))
    inside = figure.bbox
    assert all(inside.x0 <= box.x0 and box.x1 <= inside.x1 and inside.y0 <= box.y0 <= box.y1 <= inside.y1
               for box in boxes)  # fmt: skip


def test_the_best_are_in_front_with_the_baseline() -> None:
    found = {name.rpartition("  ")[0]: text.get_color() for name, text in names(plots.against_shots(many())).items()}
    coloured = {name for name, colour in found.items() if colour != GREY}
    assert coloured == {"learner 3", *(f"learner {n}" for n in range(17, 23))}
    assert len({found[name] for name in coloured}) == 7


def test_near_the_ceiling_scores_lie_apart() -> None:
    axes = plots.against_shots(many()).axes[0]
    low, at95, at99, top = axes.transAxes.inverted().transform(
        axes.transData.transform([(1, y) for y in (axes.get_ylim()[0], 95, 99, 100)])
    )[:, 1]
    assert low < at95 < 0.1
    assert at99 - at95 > 0.5, "five times fewer errors, most of the picture"
    assert at99 < top <= 1.0
    ticks = [label.get_text() for label in axes.get_yticklabels()]
    assert {"95", "98", "99", "100"} <= set(ticks)
    same = [axes.transData.transform((1, y))[1] for y in (98, 99, 99.5)]
    assert same[1] - same[0] == pytest.approx(same[2] - same[1]), "half the errors are as far everywhere"


def test_pictures_say_how_many_tasks_and_what_a_band_is() -> None:
    for figure in (plots.against_shots(many()), plots.against_time(many()), plots.against_shots(many((5,)))):
        said = " ".join(figure.get_supxlabel().split())
        assert said.startswith("20 tasks")
        assert "95% interval of the mean over tasks" in said


def test_labels_are_moved_no_more_than_needed() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        wishes = rng.random(6) * 0.6 + 0.2
        placed = spread(wishes, 0.05)
        assert (np.argsort(placed, kind="stable") == np.argsort(wishes, kind="stable")).all()
        assert all(abs(a - b) >= 0.05 - 1e-9 for a, b in combinations(placed, 2))
        # The projection onto a convex set: no step towards an allowed place comes nearer to the wishes.
        other = np.sort(rng.random(6))[np.argsort(np.argsort(wishes))]
        other = np.cumsum(np.r_[other.min(), np.maximum(np.diff(np.sort(other)), 0.05)])[np.argsort(np.argsort(wishes))]
        assert (wishes - placed) @ (other - placed) <= 1e-9
