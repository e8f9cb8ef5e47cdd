"""What a run reports: JSON lines for programs, TensorBoard events for people; the same numbers in both."""

from __future__ import annotations

import functools
import json
import logging
import math
import os
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from metaft.files import clear_disk_errors
from metaft.plain_json import finite
from metaft.runs.events import EventFile
from metaft.runs.own_files import SCORES
from metaft.runs.reading import read_rows
from metaft.runs.scalars import layout, scalars

__all__ = ["Metrics", "read_rows"]

log = logging.getLogger(__name__)


class Metrics:
    """An open metrics log.

    Args:
        file: the JSON-lines file; made if absent.
        events: folder of the TensorBoard event files.
        offset: bytes of the file to keep; later rows belong to iterations that will be done again.
        iteration: the iteration the log stands at; TensorBoard drops later steps of earlier event files.
    """

    def __init__(self, file: Path, events: Path, offset: int = 0, iteration: int = 0) -> None:
        with clear_disk_errors(str(file)):
            self._file = open(file, "ab")  # noqa: SIM115 -- held until close()
            if self._file.tell() < offset:
                log.warning("%s is shorter than its checkpoint says; some rows are lost", file)
            self._file.truncate(min(offset, self._file.tell()))
            self._file.seek(0, os.SEEK_END)
            first = iteration + 1 if iteration else 0
            self._board = EventFile(events, first)
        self._beside = events / SCORES, first

    def write(self, kind: str, iteration: int, values: dict[str, Any]) -> None:
        """Add one row.

        Args:
            kind: "train" or "validation"; the first part of TensorBoard's tags.
            iteration: meta-updates made.
            values: numbers, or lists of one number per inner step.
        """
        row = {"kind": kind, "iteration": iteration, **values}
        with self._clear_errors():
            self._file.write(json.dumps(finite(row), allow_nan=False).encode() + b"\n")
            self._file.flush()
            for tag, value in scalars(kind, values):
                self._board.scalar(tag, value, iteration)
            self._board.flush()

    def layout(self, seen: str | None, score: str) -> None:
        """Say which curves TensorBoard's custom dashboard shows side by side.

        Args:
            seen: what training measures before and after adapting, such as "accuracy"; None for what does not adapt.
            score: what validation measures.
        """
        with self._clear_errors():
            self._board.layout(layout(seen, score))

    def settings(self, values: dict[str, Any]) -> None:
        """Show settings in TensorBoard's HParams dashboard, beside the scores that `scores` gives."""
        with self._clear_errors():
            self._scores.settings(values)
            self._scores.flush()

    def scores(self, iteration: int, values: dict[str, float | None]) -> None:
        """What a run has come to so far; the dashboard sorts runs by the latest of these.

        Args:
            iteration: meta-updates made.
            values: by name; None is left out.
        """
        with self._clear_errors():
            for name, value in values.items():
                if value is not None and math.isfinite(value):
                    self._scores.scalar(name, value, iteration)
            self._scores.flush()

    @functools.cached_property
    def _scores(self) -> EventFile:
        """A folder of its own: the dashboard makes a column of every scalar that lies beside the settings."""
        return EventFile(*self._beside)

    def finish(self) -> None:
        """Say in TensorBoard that the run is finished."""
        with self._clear_errors():
            self._scores.ended()

    def text(self, name: str, content: str, iteration: int = 0) -> None:
        """Show a text, such as the configuration, in TensorBoard."""
        with self._clear_errors():
            self._board.text(name, "\n".join(f"    {line}" for line in content.splitlines()), iteration)

    def picture(self, name: str, pixels: Any, iteration: int) -> None:
        """Show an image, ``uint8 [height, width, 3]``, in TensorBoard."""
        with self._clear_errors():
            self._board.image(name, pixels, iteration)

    def picture_of(self, name: str, file: Path, iteration: int) -> None:
        """Show an image file in TensorBoard."""
        with Image.open(file) as image:
            self.picture(name, np.asarray(image.convert("RGB")), iteration)

    def sync(self) -> int:
        """Wait until the disk has all rows.

        Returns:
            The length of the file in bytes, for the checkpoint.
        """
        with self._clear_errors():
            self._file.flush()
            os.fsync(self._file.fileno())
            self._board.sync()
            if "_scores" in vars(self):
                self._scores.sync()
            return self._file.tell()

    def close(self) -> None:
        """Write what is pending and close the files."""
        with self._clear_errors():
            try:
                self._file.close()
            finally:
                self._board.close()
                if "_scores" in vars(self):
                    self._scores.close()

    def _clear_errors(self) -> AbstractContextManager[None]:
        return clear_disk_errors(str(self._file.name), "the last good checkpoint is intact")
