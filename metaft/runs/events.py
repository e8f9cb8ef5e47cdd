"""TensorBoard's event files, written only: in the caller's own thread, so that a full disk is the caller's error."""

from __future__ import annotations

import math
import os
import socket
import time
from pathlib import Path
from typing import Any

from metaft.runs.scalars import description


class EventFile:
    """One event file. TensorBoard's own writer has a thread, where errors are lost and a kill loses what is queued.

    Args:
        folder: of the run's event files; made if absent.
        first: steps from here on in earlier files belong to a past that was given up; TensorBoard drops them.
    """

    def __init__(self, folder: Path, first: int) -> None:
        from tensorboard.compat.proto import event_pb2, summary_pb2
        from tensorboard.summary.writer.record_writer import RecordWriter
        from torch.utils.tensorboard import summary

        self._proto, self._summary, self._metadata = event_pb2, summary, summary_pb2.SummaryMetadata
        self._described = set[str]()
        folder.mkdir(parents=True, exist_ok=True)
        name = f"events.out.tfevents.{_next_stamp(folder):010d}.{socket.gethostname()}.{os.getpid()}.0"
        self._file = open(folder / name, "xb")  # noqa: SIM115 -- held until close()
        self._records = RecordWriter(self._file)
        start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
        self._write(first, file_version="brain.Event:2")
        self._write(first, session_log=start)

    def scalar(self, tag: str, value: float, step: int) -> None:
        """One point of a curve; the first says what the curve is."""
        point = self._summary.scalar(tag, value)
        if tag not in self._described and (text := description(tag)):
            plugin = self._metadata.PluginData(plugin_name="scalars")
            point.value[0].metadata.CopyFrom(self._metadata(summary_description=text, plugin_data=plugin))
        self._described.add(tag)
        self._write(step, summary=point)

    def layout(self, charts: dict[str, dict[str, list[Any]]]) -> None:
        """What the custom dashboard shows: category → chart → kind and tags."""
        self._write(0, summary=self._summary.custom_scalars(charts))

    def text(self, tag: str, content: str, step: int) -> None:
        """A text in Markdown."""
        self._write(step, summary=self._summary.text(tag, content))

    def image(self, tag: str, pixels: Any, step: int) -> None:
        """A picture, ``uint8 [height, width, 3]``."""
        self._write(step, summary=self._summary.image(tag, pixels, dataformats="HWC"))

    def settings(self, values: dict[str, Any]) -> None:
        """What a run was made with, for the HParams dashboard, where its scalars become columns to sort by.

        Args:
            values: text, numbers and booleans by name; others are written as text, text that is a number as that, None
                is left out.
        """
        plain = {name: _plain(value) for name, value in values.items() if value is not None}
        # Without torch's list of columns: TensorBoard makes it of all runs that it sees, of whatever command.
        self._write(0, summary=self._summary.hparams(plain, {})[1])

    def ended(self) -> None:
        """Say in the HParams dashboard that the run is finished."""
        self._write(0, summary=self._summary.hparams({}, {})[2])

    def flush(self) -> None:
        """Let a TensorBoard that is watching see all of it."""
        self._file.flush()

    def sync(self) -> None:
        """Wait until the disk has all of it."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Write what is pending and close the file."""
        self._file.close()

    def _write(self, step: int, **content: Any) -> None:
        event = self._proto.Event(wall_time=time.time(), step=step, **content)
        self._records.write(event.SerializeToString())


def _plain(value: Any) -> bool | float | str:
    """A column of numbers can be filtered by a range, one of text by its words."""
    if isinstance(value, bool | int | float):
        return value
    try:
        number = float(str(value))
    except ValueError:
        return str(value)
    return number if math.isfinite(number) else str(value)


def _next_stamp(folder: Path) -> int:
    """Event files are read in the order of their names, which begin with the second they were made in."""
    stamps = [path.name.split(".")[3] for path in folder.glob("events.out.tfevents.*")]
    newest = max((int(stamp) for stamp in stamps if stamp.isdecimal()), default=0)
    return max(newest + 1, int(time.time()))
