"""Which files of a folder metaft wrote: only those are removed when a run is overwritten, never a user's."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from metaft.files import is_partial
from metaft.runs.reading import dig, known

RECORD = "run.json"
MADE_BY = {"program": "metaft"}
"""Stands in every record that metaft writes."""

SCORES = "scores"
"""Folder of TensorBoard's settings and final scores, in that of the run's events."""

ADDITIONS = "additions"
"""Folder of what additions begin from: a folder each, by number."""

BACKBONE = "backbone.safetensors"
"""The weights of a published network of images that a run began from."""

FILES = (
    BACKBONE,
    "tokenizer.json",
    "columns.json",
    "distillation.json",
    "soft_labels.png",
    "config.toml",
    "metrics.jsonl",
    "metrics.csv",
    "callbacks.json",
    "episode.png",
)
_GENERATION, _CANDIDATE = re.compile(r"generation-\d+"), re.compile(r"temperature-[\w.+-]+")
CHECKPOINT, _UNFINISHED = re.compile(r"iteration-\d{10,}"), re.compile(r"\.writing-\d+")
_PART = re.compile(r"(weights|average|best|optimiser)\.safetensors|progress\.json")
_EVENTS = re.compile(r"events\.out\.tfevents\.\d{10,}\..*\.\d+\.\d+")
_ADDITION, _ADAPTER = re.compile(r"\d+"), re.compile(r"adapter_(config\.json|model\.safetensors)")
_DRAWN = re.compile(r".*-[0-9a-f]{8}\.png")


def is_ours(record: Any) -> bool:
    """Whether a record is one that metaft wrote, and no other program's.

    Args:
        record: the content of a ``run.json``, unchecked.
    """
    marked = all(dig(record, name) == value for name, value in MADE_BY.items())
    return marked or isinstance(dig(record, "environment", "versions", "metaft"), str)


def holds_run(folder: Path) -> bool:
    """Whether a folder holds a run of metaft.

    Args:
        folder: which need not exist.
    """
    return is_ours(known(folder / RECORD))


def remove_run(folder: Path) -> None:
    """Remove what metaft wrote into a run directory; the record that makes it a run last, the lock stays.

    Args:
        folder: of the run. Folders are removed where nothing is left in them; links are not followed.

    Raises:
        OSError: if something cannot be removed.
    """
    for entry in (*_folders(folder, _GENERATION), *_folders(folder / "candidates", _CANDIDATE)):
        _remove_inner_run(entry)
    for entry in _folders(folder / "checkpoints", CHECKPOINT):
        remove_checkpoint(entry)
    for entry in _folders(folder / "checkpoints", _UNFINISHED):
        shutil.rmtree(entry)
    remove_events(folder / "tensorboard" / SCORES)
    remove_events(folder / "tensorboard")
    _remove_evaluations(folder / "evaluations")
    for entry in _folders(folder / ADDITIONS, _ADDITION):
        _remove_files(entry, _ADAPTER)
        _remove_empty(entry)
    for name in ("candidates", "checkpoints", ADDITIONS):
        _remove_empty(folder / name)
    for name in (*FILES, RECORD):
        (folder / name).unlink(missing_ok=True)


def holds_parts(folder: Path) -> bool:
    """Whether a folder holds any file of a checkpoint.

    Args:
        folder: named like a checkpoint's.
    """
    return any(_PART.fullmatch(file.name) for file in _entries(folder))


def remove_checkpoint(folder: Path) -> None:
    """Remove one checkpoint; what else lies in its folder stays.

    Args:
        folder: of the checkpoint.

    Raises:
        OSError: if something cannot be removed.
    """
    _remove_files(folder, _PART)
    _remove_empty(folder)


def remove_events(folder: Path) -> None:
    """Remove TensorBoard's event files from a folder, and the folder if nothing else lies in it.

    Args:
        folder: which need not exist.

    Raises:
        OSError: if something cannot be removed.
    """
    _remove_files(folder, _EVENTS)
    _remove_empty(folder)


def _remove_inner_run(folder: Path) -> None:
    begun = not (folder / RECORD).exists()
    if begun or holds_run(folder):
        remove_run(folder)
        if {path.name for path in folder.iterdir()} <= {".lock"}:
            (folder / ".lock").unlink(missing_ok=True)
            _remove_empty(folder)


def _remove_evaluations(folder: Path) -> None:
    """A result says that metaft wrote it; its picture has the same name."""
    for file in list(_entries(folder)):
        if file.suffix == ".json" and file.is_file() and not file.is_symlink() and _is_result(file):
            file.unlink()
            file.with_suffix(".png").unlink(missing_ok=True)
    _remove_files(folder, _DRAWN)
    _remove_empty(folder)


def _is_result(file: Path) -> bool:
    page = known(file)
    return isinstance(dig(page, "versions", "metaft"), str) and isinstance(page.get("results"), dict)


def _entries(folder: Path) -> Iterator[Path]:
    if folder.is_dir() and not folder.is_symlink():
        yield from sorted(folder.iterdir())


def _folders(folder: Path, name: re.Pattern[str]) -> list[Path]:
    return [e for e in _entries(folder) if name.fullmatch(e.name) and e.is_dir() and not e.is_symlink()]


def _remove_files(folder: Path, name: re.Pattern[str]) -> None:
    for file in list(_entries(folder)):
        if (name.fullmatch(file.name) or is_partial(file.name)) and not file.is_dir():
            file.unlink()


def _remove_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):  # something of the user's lies there, or it never was
        os.rmdir(folder)
