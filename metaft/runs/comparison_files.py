"""The files of a comparison: what there is of an earlier one, and what may be removed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from contextlib import closing, suppress
from pathlib import Path

from metaft.errors import MetaftError
from metaft.evaluation.comparison import Cell, Comparison
from metaft.files import clear_disk_errors

CELLS, TABLES, PAGE, EVENTS = "results.jsonl", "comparison.json", "comparison.md", "tensorboard"
PICTURES = {
    "score against shots": "against_shots.png",
    "score against inner steps": "against_steps.png",
    "score against time": "against_time.png",
}


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


def check(folder: Path, resume: bool, overwrite: bool) -> None:
    """Refuse a folder that is taken, or that holds no comparison where one is to be resumed or replaced.

    Args:
        folder: of the comparison.
        resume: go on with the one that is there.
        overwrite: replace it.

    Raises:
        MetaftError: saying which.
    """
    if resume and overwrite:
        raise MetaftError("resume and overwrite exclude each other; choose one")
    if folder.exists() and not folder.is_dir():
        raise MetaftError(f"{folder} is a file, a comparison needs a folder")
    is_comparison = (folder / CELLS).exists()
    if resume and not is_comparison:
        raise MetaftError(f"no comparison in {folder} to resume; leave out --resume to start one")
    if is_comparison and not resume and not overwrite:
        raise MetaftError(
            f"{folder} already holds a comparison; give --resume to go on with it, "
            "--overwrite to replace it, or another --out"
        )
    if is_comparison and stored_labels(folder) is None:
        raise MetaftError(
            f"{folder / CELLS} was not written by a comparison; move it away if nobody needs it, or give another --out"
        )
    if not is_comparison and folder.is_dir() and any(not path.name.startswith(".") for path in folder.iterdir()):
        raise MetaftError(f"{folder} is not empty and holds no comparison; give another --out")


def stored_labels(folder: Path) -> set[str] | None:
    """The learners of a comparison's evaluations, of lines that are whole; None if not one of them is."""
    found = set()
    try:
        lines = (folder / CELLS).read_bytes().splitlines()
    except OSError:
        return None
    for line in lines:
        try:
            found.add(Cell.from_json(json.loads(line)).label)
        except (ValueError, KeyError, TypeError):
            continue
    return found or None


def clear(folder: Path, labels: Iterable[str] | None) -> None:
    """Remove what a comparison has written, and nothing else.

    Args:
        folder: of the comparison.
        labels: the learners that it was of.
    """
    with clear_disk_errors(str(folder)):
        for name in (TABLES, PAGE, *PICTURES.values(), CELLS):
            (folder / name).unlink(missing_ok=True)
        _clear_board(folder, labels or ())


def _clear_board(folder: Path, labels: Iterable[str]) -> None:
    """Remove the event files of these learners, and of the tables; whatever else lies there stays."""
    for name in ("comparison", *map(_board_name, labels)):
        for file in (folder / EVENTS / name).glob("events.out.tfevents.*"):
            file.unlink(missing_ok=True)
        with suppress(OSError):  # not empty, or not there
            (folder / EVENTS / name).rmdir()
    with suppress(OSError):
        (folder / EVENTS).rmdir()


def _board_name(label: str) -> str:
    return re.sub(r"[^\w.=+-]+", "_", label).lstrip(".") or "_"


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
    import numpy as np
    from PIL import Image

    from metaft.runs.events import EventFile

    _clear_board(folder, {*comparison.labels, *(stored_labels(folder) or ())})
    for label in comparison.labels:
        with closing(EventFile(folder / EVENTS / _board_name(label), 0)) as board:
            for shots in comparison.shots:
                row = next(row for row in comparison.rows(shots) if row.label == label)
                board.scalar(f"shots/{comparison.metric}", row.score.mean, shots)
                board.scalar("shots/ms_a_task", 1000 * row.seconds_per_task, shots)
                if row.gap is not None:
                    board.scalar(f"shots/difference_to_{comparison.baseline}", row.gap.mean, shots)
                for step, (mean, _) in enumerate(row.steps):
                    board.scalar(f"inner_steps/{comparison.metric}_{shots}_shots", mean, step)
    with closing(EventFile(folder / EVENTS / "comparison", 0)) as board:
        board.text("table", (folder / PAGE).read_text(encoding="utf-8"), 0)
        for caption, name in pictures.items():
            with Image.open(folder / name) as image:
                board.image(caption.replace(" ", "_"), np.asarray(image.convert("RGB")), 0)
