"""Results and comparisons in Python: one line, a piece of HTML, a data frame, a picture, progress."""

from __future__ import annotations

import io
import sys
from types import SimpleNamespace

import pytest
from rich.console import Console

import metaft
from metaft.errors import MetaftError
from metaft.evaluation import task_progress
from metaft.evaluation.evaluate import evaluate
from metaft.learners import NearestNeighbour
from tests.evaluation.test_comparison_files import Elements
from tests.evaluation.test_comparison_report import comparison
from tests.evaluation.toys import Blobs, LineFitter, Lines


def test_one_line_says_what_matters() -> None:
    result = evaluate(LineFitter(), Lines(), tasks=7)
    assert repr(result) == (
        f"Result(line-fitter on lines: mean squared error {result.mean:.3f} ± {result.ci95:.3f} over 7 tasks; "
        "inductive)"
    )
    said = repr(comparison())
    assert said.startswith("Comparison(2 learners on 20 tasks of blobs test, 3-way at each number of shots; best: ")
    assert said.count(" % at ") == 3
    assert "\n" not in said


@pytest.mark.parametrize("steps", [0, 3])
def test_a_notebook_is_shown_tables_and_pictures_and_no_script(steps: int) -> None:
    result = evaluate(LineFitter(), Lines(), tasks=3, steps=steps)
    page = result._repr_html_()
    assert page.count("<tr") == 1 + (steps + 1)
    assert page.count("<svg") == (steps > 0)
    page = comparison((1, 5))._repr_html_()
    assert page.count("<table") == 2
    assert page.count("<svg") == 2
    assert not {"script", "button", "link", "img"} & {tag for tag, _ in Elements(page).found}


def test_data_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = SimpleNamespace(from_records=lambda rows: rows)
    monkeypatch.setitem(sys.modules, "pandas", SimpleNamespace(DataFrame=frame))
    result = evaluate(LineFitter(), Lines(), tasks=4)
    assert [row["mean"] for row in result.to_frame()] == [mean for mean, _ in result.per_step]
    assert [row["score"] for row in result.to_frame("tasks")] == result.per_task.tolist()
    assert comparison().to_frame() == comparison().records()
    with pytest.raises(MetaftError, match="should be 'steps' or 'tasks'"):
        result.to_frame("shots")  # type: ignore[arg-type]
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MetaftError, match="needs pandas: pip install pandas"):
        result.to_frame()


def test_pictures() -> None:
    assert comparison().plot("time").axes[0].get_xscale() == "log"
    assert comparison((1, 5)).plot()._repr_png_().startswith(b"\x89PNG")
    assert evaluate(LineFitter(), Lines(), tasks=3).plot().axes
    compared = metaft.compare({"nn": NearestNeighbour()}, Blobs(), tasks=3)
    with pytest.raises(MetaftError, match="no learner takes inner steps"):
        compared.plot("steps")
    with pytest.raises(MetaftError, match="did you mean 'shots'"):
        compared.plot("shot")  # type: ignore[arg-type]


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    page = io.StringIO()
    watched = lambda **_: Console(file=page, force_terminal=True, force_jupyter=False, width=80)
    monkeypatch.setattr(task_progress, "Console", watched)
    return page


def test_progress_is_shown_on_a_terminal_unless_it_is_turned_off(terminal: io.StringIO) -> None:
    evaluate(LineFitter(), Lines(), tasks=60)
    assert "60 of 60 tasks" in terminal.getvalue()
    before = terminal.getvalue()
    evaluate(LineFitter(), Lines(), tasks=60, progress=False)
    seen = []
    evaluate(LineFitter(), Lines(), tasks=60, progress=lambda *told: seen.append(told))
    metaft.compare({"nn": NearestNeighbour()}, Blobs(), tasks=60, progress=False)
    assert terminal.getvalue() == before
    assert seen == [(50, 60), (60, 60)]
    metaft.compare({"nn": NearestNeighbour()}, Blobs(), [1, 2], tasks=60)
    assert "120 of 120 tasks" in terminal.getvalue()


def test_progress_in_a_notebook_needs_no_widgets(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kernel = SimpleNamespace(get_ipython=lambda: SimpleNamespace(kernel=object()))
    monkeypatch.setitem(sys.modules, "IPython", kernel)
    assert task_progress.is_notebook()
    evaluate(LineFitter(), Lines(), tasks=60)
    said = capsys.readouterr().err
    assert "\r60 of 60 tasks" in said
    assert said.rpartition("\r")[0].rpartition("\r")[2].strip() == "", "the line is wiped"
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: None))
    assert not task_progress.is_notebook()
    evaluate(LineFitter(), Lines(), tasks=60)
    assert capsys.readouterr().err == "", "nobody watches"
