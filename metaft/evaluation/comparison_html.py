"""A comparison as one page of HTML that needs nothing beside itself."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from metaft.evaluation import html
from metaft.evaluation.comparison import Comparison, Row
from metaft.evaluation.comparison_report import KEPT, note, table_rows
from metaft.evaluation.comparison_tables import told_best
from metaft.evaluation.html import Cell, Line, Table
from metaft.evaluation.shown_episodes import Episode
from metaft.evaluation.wording import describe_family

LEFT = ("learner", "mode")


def page(
    comparison: Comparison,
    figures: Mapping[str, Figure],
    episodes: Sequence[Episode],
    fits: Figure | None,
    made: Mapping[str, Any],
    more: Mapping[str, str],
) -> str:
    """A comparison as a page.

    Args:
        comparison: what to show.
        figures: by caption.
        episodes: tasks as the learners answered them.
        fits: likewise of regressions.
        made: how it was made, as ``comparison.json`` says it: command, environment, seeds.
        more: what else lies beside the page: name of a file → what it is.

    Returns:
        HTML; nothing in it is fetched from elsewhere.
    """
    return html.render(
        "comparison.html.j2",
        title=describe_family(comparison.family),
        summary=repr(comparison)[len("Comparison(") : -1],
        tables=tables(comparison),
        note=note(comparison),
        drawings={caption: html.drawing(figure, f"f{n}") for n, (caption, figure) in enumerate(figures.items())},
        episodes=episodes,
        fits=None if fits is None else html.drawing(fits, "fits"),
        command=str(made.get("command", "")),
        swept=made.get("chosen_on_validation_classes_by_sweep", {}),
        facts=_facts(comparison, made),
        more=more,
    )


def tables(comparison: Comparison) -> list[Table]:
    """The tables, one a number of shots, with what they are sorted by."""
    found = []
    for shots in comparison.shots:
        heads, rows = table_rows(comparison, shots)
        best = told_best(comparison, shots)
        lines = [
            Line([Cell(*pair) for pair in zip(cells, _keys(row, "diverged" in heads), strict=True)], row.label == best)
            for cells, row in zip(rows, comparison.rows(shots), strict=True)
        ]
        title = describe_family({**comparison.family, "shots": shots})
        found.append(Table(title, heads, lines, [heads.index(name) for name in LEFT]))
    return found


def _keys(row: Row, diverged: bool) -> list[float | None]:
    """What a row is sorted by in every column of `table_rows`."""
    nan = math.nan
    keys: list[float | None] = [
        None,
        row.score.mean,
        nan if row.seeds is None else row.seeds.low,
        0.0 if row.gap is None else row.gap.mean,
        None,
        nan if row.adapts is None else row.adapts,
        row.parameters,
        nan if row.bytes_per_task is None else row.bytes_per_task,
        row.seconds_per_task,
        nan if row.peak_bytes is None else row.peak_bytes,
    ]
    return [*keys[:KEPT], row.score.diverged, *keys[KEPT:]] if diverged else keys


def _facts(comparison: Comparison, made: Mapping[str, Any]) -> dict[str, str]:
    """The environment and what the tasks were, as texts."""
    seeds = made.get("seeds", [])
    told: dict[str, Any] = {
        "seeds of the learners": ", ".join(map(str, seeds)),
        "seed of the tasks": made.get("task_seed", ""),
        **{f"sha256 of the tasks, {shots}-shot": total for shots, total in comparison.checksums.items()},
        **made.get("versions", {}),
        "commit": made.get("commit") or "",
        **made.get("machine", {}),
        "date": made.get("date", ""),
    }
    return {name: str(value) for name, value in told.items() if value not in (None, "")}
