"""What lies in a comparison's folder: whether it is one, and removing what it wrote, nothing of a user's."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from contextlib import closing, suppress
from pathlib import Path

import numpy as np
from PIL import Image

from metaft.errors import MetaftError
from metaft.evaluation.comparison import Cell, Comparison
from metaft.files import clear_disk_errors
from metaft.runs.contents import Contents
from metaft.runs.events import EventFile
from metaft.runs.own_files import remove_events
from metaft.runs.reading import dig, read_json, read_rows

CELLS, TABLES, PAGE, EVENTS = "results.jsonl", "comparison.json", "comparison.md", "tensorboard"
REPORT, RECORDS, LATEX = "comparison.html", "comparison.csv", "comparison.tex"
BOARD = "comparison"
PICTURES = {
    "score against shots": "against_shots.png",
    "score against inner steps": "against_steps.png",
    "score against time": "against_time.png",
}
PRINTS = (".pdf", ".svg")
"""In which form pictures lie there too, for papers and slides."""


def forms(picture: str) -> list[str]:
    """The files of a picture: as PNG, as PDF and as SVG.

    Args:
        picture: its name as PNG.
    """
    return [picture, *(str(Path(picture).with_suffix(ending)) for ending in PRINTS)]


WRITTEN = (TABLES, PAGE, REPORT, RECORDS, LATEX, *(name for picture in PICTURES.values() for name in forms(picture)))
"""Files that are made of the evaluations."""


def _is_ours(folder: Path) -> bool:
    """Whether a comparison of ours lies in a folder, perhaps a damaged one: by its evaluations, or by its tables."""
    with suppress(MetaftError):
        cells = read_rows(folder / CELLS)
        if cells and all({"tasks_sha256", "result"} <= set(cell) for cell in cells):
            return True
    with suppress(MetaftError):
        return isinstance(dig(read_json(folder / TABLES), "versions", "metaft"), str)
    return False


COMPARISON = Contents(
    "comparison",
    CELLS,
    (CELLS, EVENTS, *WRITTEN),
    is_ours=_is_ours,
    is_free=lambda names: all(name.startswith(".") for name in names),
)


def clear(folder: Path) -> None:
    """Remove what a comparison wrote, and nothing else; what makes it one last.

    Args:
        folder: of the comparison.

    Raises:
        MetaftError: if something cannot be removed.
    """
    with clear_disk_errors(str(folder)):
        clear_board(folder, _labels(folder))
        for name in (*WRITTEN, CELLS):
            (folder / name).unlink(missing_ok=True)


def _labels(folder: Path) -> list[str]:
    """The learners of the comparison that is in a folder, as far as it can be read."""
    try:
        return [str(cell["label"]) for cell in read_rows(folder / CELLS) if "label" in cell]
    except MetaftError:
        return []


def clear_board(folder: Path, labels: Iterable[str]) -> None:
    """Remove a comparison's TensorBoard logs.

    Args:
        folder: of the comparison.
        labels: of its learners.
    """
    for name in {board_name(label) for label in labels} | {BOARD}:
        remove_events(folder / EVENTS / name)
    with suppress(OSError):  # something of the user's lies there
        (folder / EVENTS).rmdir()


def board_name(label: str) -> str:
    """The folder of a learner's TensorBoard log.

    Args:
        label: the learner's.
    """
    return re.sub(r"[^\w.=+-]+", "_", label).lstrip(".") or "_"


def read_cells(path: Path) -> list[Cell]:
    """The evaluations in a file of JSON lines.

    Args:
        path: the file.

    Returns:
        One a line.

    Raises:
        MetaftError: if it was not written by a comparison.
    """
    try:
        return parse_cells(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise MetaftError(f"{path} cannot be read ({type(error).__name__}); give --overwrite to begin anew") from None


def newest(cells: Iterable[Cell]) -> list[Cell]:
    """The last evaluation of each learner, seed and number of shots: a resumed comparison may have added to a file.

    Args:
        cells: in the order of the file.

    Returns:
        One each.
    """
    return list({(cell.label, cell.seed, cell.shots): cell for cell in cells}.values())


def parse_cells(lines: str) -> list[Cell]:
    """The evaluations in JSON lines, one a line."""
    return [Cell.from_json(json.loads(line)) for line in lines.splitlines()]


def lines_of(cells: Iterable[Cell]) -> bytes:
    """Evaluations as JSON lines."""
    return "".join(json.dumps(cell.to_json(), ensure_ascii=False) + "\n" for cell in cells).encode()


def draw_board(folder: Path, comparison: Comparison, pictures: dict[str, str]) -> None:
    """A comparison in TensorBoard: a run a learner, and one for the tables and pictures.

    Args:
        folder: of the comparison, its page written.
        comparison: what to show.
        pictures: file name by caption.
    """
    clear_board(folder, {*comparison.labels, *_labels(folder)})
    for label in comparison.labels:
        with closing(EventFile(folder / EVENTS / board_name(label), 0)) as board:
            first = next(cell.result for cell in comparison.cells if cell.label == label)
            board.settings({**first.family, **first.learner})
            for shots in comparison.shots:
                row = next(row for row in comparison.rows(shots) if row.label == label)
                board.scalar(f"shots/{comparison.metric}", row.score.mean, shots)
                board.scalar("shots/ms_a_task", 1000 * row.seconds_per_task, shots)
                if row.gap is not None:
                    board.scalar(f"shots/difference_to_{comparison.baseline}", row.gap.mean, shots)
                for step, (mean, _) in enumerate(row.steps):
                    board.scalar(f"inner_steps/{comparison.metric}_{shots}_shots", mean, step)
    with closing(EventFile(folder / EVENTS / BOARD, 0)) as board:
        board.text("table", (folder / PAGE).read_text(encoding="utf-8"), 0)
        for caption, name in pictures.items():
            with Image.open(folder / name) as image:
                board.image(caption.replace(" ", "_"), np.asarray(image.convert("RGB")), 0)
