"""A few tasks of a comparison as every learner answered them: what is kept of the answers, and what is shown."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from metaft.data.texts.labelled_texts import LabelledTokens
from metaft.evaluation.comparison import Cell, Comparison
from metaft.evaluation.evaluate import BLOCK, draw
from metaft.tasks.answers import answered, present
from metaft.tasks.batch import IGNORE, TaskBatch
from metaft.tasks.episodes import Episodes
from metaft.tasks.family import TaskFamily

SHOWN = 2
"""Tasks whose answers are kept: the first ones."""
CLASSES, SUPPORT, QUERIES = 5, 3, 3
"""Of a task: classes shown, and examples of each."""
SIDE = 64
"""Pixels of a picture's longer side, at most."""
LONGEST = 160
"""Characters of a text."""
NOTHING = -1
"""The answer to a query that got none, a score being NaN or +inf."""


@dataclass(frozen=True)
class Shown:
    """An example.

    Args:
        way: its class in the task, from 0.
        text: what it says; empty for pictures and numbers.
        picture: of it, as a ``data:`` address; empty for others.
    """

    way: int
    text: str = ""
    picture: str = ""


@dataclass(frozen=True)
class Answered:
    """What one learner said.

    Args:
        learner: its label.
        said: of each query that is shown, the class answered (`NOTHING` for none) and whether that is right.
        right: how many of all queries.
        asked: how many there are.
    """

    learner: str
    said: tuple[tuple[int, bool], ...]
    right: int
    asked: int


@dataclass(frozen=True)
class Episode:
    """A task as it is shown.

    Args:
        task: its number.
        shots: support examples a class.
        names: of its classes; their numbers, where that is unknown.
        support: some of the support set, class by class.
        queries: some of the queries, likewise.
        answers: a learner each.
        left_out: what is not shown, in words; empty if all is.
    """

    task: int
    shots: int
    names: tuple[str, ...]
    support: tuple[Shown, ...]
    queries: tuple[Shown, ...]
    answers: tuple[Answered, ...]
    left_out: str = ""


def kept_answers(batch: TaskBatch, predictions: Tensor) -> list[list[float | None]]:
    """What is kept of a learner's answers to the first tasks.

    Args:
        batch: the tasks.
        predictions: after the last step, ``[tasks, queries, outputs]``.

    Returns:
        Task by task, query by query: the class answered (`NOTHING` for none), or the first value predicted.
    """
    first, found = batch[:SHOWN], predictions[:SHOWN].cpu()
    if first.query_y.is_floating_point():
        return [[_plain(value) for value in values] for values in found[..., 0].double().tolist()]
    support_y = first.support_y.cpu()
    allowed = present(support_y, found.shape[-1]).unsqueeze(-2) if support_y.shape[-1] else None
    answers, none = answered(found, allowed)
    return list(answers.masked_fill(none, NOTHING).tolist())


def episodes(comparison: Comparison, family: TaskFamily) -> list[Episode]:
    """The first tasks of a classification, with every learner's answers.

    Args:
        comparison: its learners' first seeds are shown, at the smallest number of shots.
        family: draws the tasks, at that number of shots.

    Returns:
        A task each; none of a regression, or where no answers were kept.
    """
    shots = comparison.shots[0]
    cells = first_answers(comparison)
    if comparison.metric != "accuracy" or not cells:
        return []
    batch = next(draw(family, SHOWN))
    return [_episode(task, shots, batch, family, cells) for task in range(batch.tasks)]


def first_answers(comparison: Comparison) -> list[Cell]:
    """The evaluations whose answers are shown: of each learner its first seed's, at the smallest number of shots."""
    firsts = [comparison.of(label, comparison.shots[0])[0] for label in comparison.labels]
    return [cell for cell in firsts if cell.answers]


def _episode(task: int, shots: int, batch: TaskBatch, family: TaskFamily, cells: Sequence[Cell]) -> Episode:
    support_y, query_y = batch.support_y[task].cpu().numpy(), batch.query_y[task].cpu().numpy()
    names = _class_names(family, task, int(max(support_y.max(initial=0), query_y.max(initial=0))) + 1)
    support, queries = _some(support_y, SUPPORT), _some(query_y, QUERIES)
    asked = query_y != IGNORE
    answers = []
    for cell in cells:
        given = np.array(cell.answers[task], dtype=np.int64)
        said = tuple((int(given[q]), bool(given[q] == query_y[q])) for q in queries)
        answers.append(Answered(cell.label, said, int((given == query_y)[asked].sum()), int(asked.sum())))
    rows = _rows(family, task) or (None, None)
    shown_support = tuple(_shown(batch.support_x[task], support_y, at, family, rows[0]) for at in support)
    shown_queries = tuple(_shown(batch.query_x[task], query_y, at, family, rows[1]) for at in queries)
    left_out = "" if len(queries) == asked.sum() else f"{len(queries)} of {int(asked.sum())} queries are shown"
    return Episode(task, shots, tuple(names), shown_support, shown_queries, tuple(answers), left_out)


def _some(labels: NDArray[np.int64], most: int) -> list[int]:
    """Where the first examples of the first classes stand, class by class."""
    return [int(at) for c in range(CLASSES) for at in np.flatnonzero(labels == c)[:most]]


def _rows(family: TaskFamily, task: int) -> tuple[NDArray[np.int64], NDArray[np.int64]] | None:
    """Where a task's support and query examples stand in the data set, in the order of the batch; None if unknown."""
    if not isinstance(family, Episodes):
        return None
    by_way = family.indices(0, BLOCK)[task]
    return by_way[:, : family.shots].T.reshape(-1), by_way[:, family.shots :].T.reshape(-1)


def _class_names(family: TaskFamily, task: int, ways: int) -> list[str]:
    """What a task's classes are called; their numbers, where that is unknown."""
    if not isinstance(family, Episodes):
        return [str(way) for way in range(ways)]
    firsts = family.indices(0, BLOCK)[task][:, 0]
    ends = family.images.counts.cumsum(0)
    return [family.images.names[int(torch.searchsorted(ends, int(row), right=True))] for row in firsts]


def _shown(x: Tensor, labels: NDArray[np.int64], at: int, family: TaskFamily, rows: NDArray[np.int64] | None) -> Shown:
    example, way = x[at].cpu(), int(labels[at])
    if example.dim() == 3 and example.is_floating_point() and example.shape[0] in (1, 3):
        return Shown(way, picture=_picture(example.numpy()))
    own = family.images if isinstance(family, Episodes) else None
    if rows is not None and isinstance(own, LabelledTokens) and len(own.texts) == len(own):
        text = own.texts[int(rows[at])]
        said = " / ".join(text) if isinstance(text, tuple) else text
        return Shown(way, text=said if len(said) <= LONGEST else f"{said[: LONGEST - 1]}…")
    return Shown(way)


def _picture(image: NDArray[np.float32]) -> str:
    scaled = (255 * np.nan_to_num(image).clip(0, 1)).round().astype(np.uint8)
    # Ink is bright in data of characters; on paper it is dark. Three channels are taken for colours.
    shown = Image.fromarray(scaled.transpose(1, 2, 0) if len(image) == 3 else 255 - scaled[0])
    shown.thumbnail((SIDE, SIDE))
    page = io.BytesIO()
    shown.save(page, "png", optimize=True)
    return "data:image/png;base64," + base64.b64encode(page.getvalue()).decode()


def _plain(value: float) -> float | None:
    return round(value, 6) if math.isfinite(value) else None
