"""What is made of a comparison's evaluations: tables, pictures, pages, TensorBoard."""

from __future__ import annotations

from pathlib import Path

from metaft.commands.compare.files import (
    EVENTS,
    LATEX,
    PAGE,
    PICTURES,
    RECORDS,
    REPORT,
    TABLES,
    draw_board,
    forms,
)
from metaft.evaluation import comparison_html, comparison_plots
from metaft.evaluation.comparison import Comparison
from metaft.evaluation.comparison_report import markdown
from metaft.evaluation.comparison_tables import csv_text, latex_table
from metaft.evaluation.shown_episodes import episodes
from metaft.evaluation.shown_fits import fit_figure
from metaft.evaluation.style import save
from metaft.files import clear_disk_errors, write_atomically
from metaft.runs.reading import read_json
from metaft.tasks.family import TaskFamily


def write_files(folder: Path, comparison: Comparison, family: TaskFamily, command: str) -> None:
    """Write all that is made of a comparison; its ``comparison.json`` is there already.

    Args:
        folder: of the comparison.
        comparison: what to show.
        family: draws its tasks at the smallest number of shots.
        command: what made it.

    Raises:
        MetaftError: if a file cannot be written.
    """
    drawers = (comparison_plots.against_shots, comparison_plots.against_steps, comparison_plots.against_time)
    figures, drawn = {}, {}
    for (caption, name), draw in zip(PICTURES.items(), drawers, strict=True):
        for file in forms(name):
            (folder / file).unlink(missing_ok=True)
        figure = draw(comparison)
        if figure is not None:
            for file in forms(name):
                save(figure, folder / file)
            figures[caption], drawn[caption] = figure, name
    write_atomically(folder / RECORDS, csv_text(comparison).encode())
    write_atomically(folder / LATEX, latex_table(comparison).encode())
    write_atomically(folder / PAGE, markdown(comparison, command, drawn).encode())
    more = {
        RECORDS: "all numbers, a row a learner and number of shots",
        LATEX: "the scores as a LaTeX table",
        PAGE: "this page as Markdown",
        TABLES: "everything as JSON",
        **{file: caption for caption, name in drawn.items() for file in forms(name)},
    }
    page = comparison_html.page(
        comparison,
        figures,
        episodes(comparison, family),
        fit_figure(comparison, family),
        read_json(folder / TABLES),
        more,
    )
    write_atomically(folder / REPORT, page.encode())
    with clear_disk_errors(str(folder / EVENTS)):
        draw_board(folder, comparison, drawn)
