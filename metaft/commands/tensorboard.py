"""TensorBoard on runs, each under its own name rather than that of the folder its event files lie in."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from metaft.runs.own_files import holds_run

INSIDE = "tensorboard"
"""The folder of a run that its event files lie in."""


def event_files(runs: Path) -> dict[Path, Path]:
    """The event files of runs, by the place that TensorBoard is to find them at.

    Args:
        runs: a run directory, or a folder of them.

    Returns:
        ``NAME/file`` → file, where NAME is that of the run directory as it lies in ``runs``.
    """
    whole = runs.resolve()
    above = whole.parent if holds_run(whole) else whole
    found = {}
    for file in whole.rglob("events.out.tfevents.*"):
        names = [name for name in file.parent.relative_to(above).parts if name != INSIDE]
        found[Path(*(names or [whole.name]), file.name)] = file
    return found


def link_event_files(runs: Path, folder: Path) -> None:
    """Link event files that are not linked yet; a run may begin, or go on, while TensorBoard shows others.

    Args:
        runs: a run directory, or a folder of them.
        folder: of the links.
    """
    for place, file in event_files(runs).items():
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            os.symlink(file, folder / place)
