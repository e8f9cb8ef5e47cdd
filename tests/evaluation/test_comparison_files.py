"""A comparison as CSV, LaTeX and a page of HTML."""

from __future__ import annotations

import csv
import dataclasses
import io
import re
from html.parser import HTMLParser

import pytest
import torch

import metaft
from metaft.evaluation import comparison_html, comparison_plots
from metaft.evaluation.comparison import Cell, Comparison
from metaft.evaluation.comparison_tables import csv_text, latex, latex_table, told_best
from metaft.evaluation.shown_episodes import NOTHING, Episode, episodes, kept_answers
from metaft.evaluation.shown_fits import fit_figure
from metaft.evaluation.statistics import summarise
from metaft.learners import NearestNeighbour
from metaft.tasks.batch import TaskBatch
from tests.evaluation.test_comparison_report import cell, comparison
from tests.evaluation.toys import Blobs, Fixed, Lines

EVIL = "<script>alert(1)</script> & \"x\" 'y' $a_b$"
MADE = {"command": f"metaft compare '{EVIL}'", "seeds": [0], "versions": {"metaft": "1"}, "date": EVIL}


def at(label: str, scores: list[float], shots: int = 1) -> Cell:
    """A learner without randomness, with these scores."""
    one = cell(label, None, shots, 0.5, [1.0])
    values = torch.tensor(scores, dtype=torch.float64)
    told = {"name": label, "parameters": 0, "adapts": 0}
    result = dataclasses.replace(one.result, per_task=values, steps=(summarise(values),), learner=told)
    return dataclasses.replace(one, result=result)


class Elements(HTMLParser):
    """All elements and attributes of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def page(compared: Comparison, shown: list[Episode], drawn: bool = False) -> str:
    figures = {"score against shots": comparison_plots.against_shots(compared)} if drawn else {}
    return comparison_html.page(compared, figures, shown, None, MADE, {"comparison.csv": "numbers"})


def test_the_best_is_told_where_every_interval_says_so() -> None:
    low, high, close = [0.5, 0.6, 0.4, 0.5], [0.8, 0.9, 0.7, 0.81], [0.8, 0.9, 0.72, 0.8]
    assert told_best(Comparison((at("low", low), at("high", high)), "low"), 1) == "high"
    both = Comparison((at("low", low), at("high", high), at("close", close)), "low")
    assert told_best(both, 1) is None, "two that cannot be told apart"
    assert told_best(Comparison((at("low", low),), "low"), 1) is None
    assert r"\textbf" not in latex_table(both).split(r"\midrule")[1]
    assert r"\textbf{80.25} $\pm$" in latex_table(Comparison((at("low", low), at("high", high)), "low"))


def test_records_are_what_the_tables_say() -> None:
    compared = comparison()
    found = {(one["learner"], one["shots"]): one for one in compared.records()}
    assert len(found) == 6
    row, walker = compared.rows(5)[1], found["walker", 5]
    assert (walker["mean"], walker["ci95"], walker["seeds"]) == (row.score.mean, row.score.ci95, 2)
    assert row.gap is not None
    assert (walker["difference"], walker["difference_ci95"]) == (row.gap.mean, row.gap.ci95)
    assert found["flat", 5]["difference"] is None
    read = list(csv.DictReader(io.StringIO(csv_text(compared))))
    assert [float(one["mean"]) for one in read] == [one["mean"] for one in compared.records()]
    assert read[0]["difference"] == ""


def test_latex_of_any_label() -> None:
    assert latex(r"50% of a_b & $c\d{e}~^#") == (
        r"50\% of a\_b \& \$c\textbackslash{}d\{e\}\textasciitilde{}\textasciicircum{}\#"
    )
    table = latex_table(Comparison((at("a\n\\end{table}", [0.5, 0.6]),), "a\n\\end{table}"))
    assert table.count(r"\end{table}") == 1
    assert r"\toprule" in table
    assert table.count("&") == 2 * 2


def test_a_page_fetches_nothing_and_executes_nothing_of_a_users() -> None:
    compared = Comparison((at(EVIL, [0.5, 0.9]), at(EVIL, [0.6, 0.9], 5)), EVIL)
    shown = Episode(0, 1, (EVIL, "b"), (), (), ())
    text = page(compared, [shown], drawn=True)
    elements = Elements(text).found
    assert [tag for tag, _ in elements].count("script") == 1, "our own"
    assert "alert(1)" in text
    assert "<script>alert" not in text
    for tag, attributes in elements:
        for name, value in attributes.items():
            assert not name.startswith("on"), (tag, name)
            if name in ("src", "href", "xlink:href", "action", "data", "srcset"):
                assert re.match(r"data:image/png|#|comparison\.csv$", str(value)), (tag, name, value)
    assert "@import" not in text
    assert not re.search(r"url\((?!#)", text)
    assert "default-src 'none'" in text
    ids = [attributes["id"] for tag, attributes in elements if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_a_page_holds_the_tables_sortable_and_how_to_do_it_again() -> None:
    compared = comparison()
    text = page(compared, [])
    assert text.count('<table class="sortable">') == len(compared.shots)
    assert text.count(f'data-key="{compared.rows(10)[1].score.mean}"') == 1
    assert "metaft compare &#39;" in text
    assert compared.checksums[5] in text


class Unsure(NearestNeighbour):
    """Has no answer to the first query of a task."""

    def curve(self, batch: TaskBatch, steps: int | None = None) -> torch.Tensor:
        scores = super().curve(batch, steps).clone()
        scores[:, :, 0] = torch.nan
        return scores


def test_shown_answers_are_those_that_were_scored() -> None:
    compared = metaft.compare({"nn": NearestNeighbour(), "unsure": Unsure()}, Blobs(ways=6), [2, 3], tasks=60)
    shown = episodes(compared, Blobs(ways=6, shots=2))
    assert [one.task for one in shown] == [0, 1]
    for one in shown:
        for answers in one.answers:
            result = compared.of(answers.learner, 2)[0].result
            assert answers.right == round(float(result.per_task[one.task]) * answers.asked)
        nn, unsure = one.answers
        assert unsure.said[0] == (NOTHING, False)
        assert unsure.said[1:] == nn.said[1:]
        assert all((way == query.way) == right for query, (way, right) in zip(one.queries, nn.said, strict=True))
    assert shown[0].left_out == "15 of 24 queries are shown"
    text = page(compared, shown)
    assert text.count("of 24</td>") == 4
    assert Cell.from_json({**compared.cells[0].to_json(), "answers": ()}).answers == (), "of an older comparison"
    old = dataclasses.replace(compared, cells=tuple(dataclasses.replace(c, answers=()) for c in compared.cells))
    assert episodes(old, Blobs(ways=6, shots=2)) == []


def test_pictures_and_names_of_an_episode_are_of_its_own_examples() -> None:
    from metaft.data.images import LabelledImages
    from metaft.tasks.episodes import Episodes

    levels = torch.arange(8, dtype=torch.uint8).repeat_interleave(5) * 30
    images = LabelledImages(
        levels[:, None, None, None].expand(-1, 3, 4, 4).contiguous(), torch.full((8,), 5), tuple("abcdefgh")
    )
    family = Episodes(images, ways=3, shots=1, queries=2, dataset="levels")
    (one, _) = episodes(metaft.compare({"nn": NearestNeighbour()}, family, tasks=3), family)
    of_level = {"abcdefgh"[level]: level * 30 for level in range(8)}
    batch = family.batch(0, 50)
    for way, name in enumerate(one.names):
        assert round(255 * float(batch.support_x[0][way].mean())) == of_level[name]
    assert all(query.picture.startswith("data:image/png;base64,") for query in one.queries)


def test_fits_of_a_regression() -> None:
    compared = metaft.compare({"zero": Fixed(lambda batch: torch.zeros_like(batch.query_y)[None])}, Lines(), tasks=3)
    figure = fit_figure(compared, Lines())
    assert figure is not None
    drawn = {str(line.get_label()): line.get_ydata() for line in figure.axes[0].get_lines()}
    assert not torch.tensor(drawn["zero"]).any()
    truth = Lines().batch(0, 50)
    order = truth.query_x[0, :, 0].argsort()
    assert torch.equal(torch.tensor(drawn["truth"]), truth.query_y[0, :, 0][order])
    assert episodes(compared, Lines()) == []


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_answers_that_are_no_numbers_are_kept_as_none(bad: float) -> None:
    x, y = torch.zeros(1, 2, 1), torch.zeros(1, 2, 1)
    assert kept_answers(TaskBatch(x, y, x, y), torch.tensor([[[bad], [1.0]]])) == [[None, 1.0]]
