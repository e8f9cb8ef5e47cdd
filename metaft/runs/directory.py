"""A run's folder: what lies in it, who may write to it, what state the run is in."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from metaft.environment import environment
from metaft.errors import MetaftError
from metaft.files import clear_disk_errors, folder_path, is_partial, remove_partial_files, shown, write_atomically
from metaft.plain_json import write_json
from metaft.runs.contents import Contents
from metaft.runs.own_files import ADDITIONS, FILES, MADE_BY, RECORD, is_ours, remove_run
from metaft.runs.reading import read_json, read_run
from metaft.runs.reading import read_run as read_record
from metaft.settings.config import CommandSettings, to_toml

__all__ = ["RUN", "RunDirectory", "locked", "read_record", "write_beginning"]

_BEGUN = (".lock", "config.toml", "tokenizer.json", "columns.json", ADDITIONS)
"""What a process killed while it began a run can leave, the first of them always; such a folder is free."""


def _is_free(names: Collection[str]) -> bool:
    return not names or (_BEGUN[0] in names and all(name in _BEGUN or is_partial(name) for name in names))


RUN = Contents(
    "run",
    RECORD,
    (*_BEGUN, "generation-*", "candidates", *FILES, "tensorboard", "checkpoints", "evaluations", RECORD),
    is_ours=lambda folder: is_ours(read_json(folder / RECORD)),
    is_free=_is_free,
)


class RunDirectory:
    """An open run folder, locked against other processes until closed.

    Args:
        path: the folder.

    Attributes:
        path: the folder.
        checkpoints: folder of the checkpoints.
        metrics: the JSON-lines file.
        tensorboard: folder of the event files.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = folder_path(path) if os.pardir in Path(path).parts else Path(path)
        self.checkpoints = self.path / "checkpoints"
        self.metrics = self.path / "metrics.jsonl"
        self.tensorboard = self.path / "tensorboard"
        self._lock: IO[str] | None = None

    @classmethod
    def open(cls, path: str | Path, *, resume: bool = False, overwrite: bool = False) -> RunDirectory:
        """Take a folder for a run.

        Args:
            path: the folder; made if absent.
            resume: go on with the run that is there.
            overwrite: remove the run that is there, and nothing that metaft did not write.

        Returns:
            The locked folder.

        Raises:
            MetaftError: if it is taken (and neither was asked for), holds something else, has no run to go on
                with, is in use by another process or cannot be written.
        """
        run = cls(path)
        run.check(resume=resume, overwrite=overwrite)
        with clear_disk_errors(f"run directory {shown(path)}"):
            run.path.mkdir(parents=True, exist_ok=True)
            run.lock()
        try:
            # Again: another process may have begun, and even ended, a run since.
            run.check(resume=resume, overwrite=overwrite)
            with clear_disk_errors(f"run directory {path}"):
                remove_partial_files(run.path)
                if overwrite:
                    remove_run(run.path)
        except BaseException:
            run.close()
            raise
        return run

    def check(self, *, resume: bool, overwrite: bool) -> None:
        """Say whether ``open`` would accept the folder, without touching anything.

        Args:
            resume: as for ``open``.
            overwrite: as for ``open``.

        Raises:
            MetaftError: as ``open``.
        """
        RUN.check(self.path, resume=resume, overwrite=overwrite)

    def write_record(self, **values: Any) -> None:
        """Add to ``run.json``, atomically.

        Args:
            values: JSON-able entries, replacing those of the same name.
        """
        write_json(self.path / RECORD, {**MADE_BY, **self.record(), **values})

    def record(self) -> dict[str, Any]:
        """What ``run.json`` says; empty if there is none.

        Raises:
            MetaftError: if it is damaged.
        """
        return read_run(self.path) if (self.path / RECORD).exists() else {}

    def close(self) -> None:
        """Let other processes have the folder."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def lock(self) -> None:
        """Keep other processes out until ``close``.

        Raises:
            MetaftError: if another process has the folder.
        """
        file = open(self.path / ".lock", "a+", encoding="utf-8")  # noqa: SIM115 -- held until close()
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip() or "unknown"
            file.close()
            raise MetaftError(f"{self.path} is in use by another process (pid {holder}); wait or stop it") from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        self._lock = file


@contextlib.contextmanager
def locked(folder: Path, what: str) -> Iterator[None]:
    """Make a folder where it is missing, and keep other processes out of it.

    Args:
        folder: to write to.
        what: it holds, for the message.

    Raises:
        MetaftError: if it cannot be made, or another process has it.
    """
    with contextlib.closing(RunDirectory(folder)) as held:
        with clear_disk_errors(f"{what} {folder}"):
            folder.mkdir(parents=True, exist_ok=True)
        held.lock()
        yield


def write_beginning(
    run: RunDirectory,
    command: str,
    config: CommandSettings | None,
    settings: Mapping[str, object],
    more: Mapping[str, Any],
    resumed: bool,
    files: Mapping[str, bytes] | None = None,
) -> None:
    """Write what is known about a run at its start: ``config.toml``, and into ``run.json`` where and how it is made.

    Args:
        run: the open run directory.
        command: what the user called.
        config: the full settings, if the run was built from some.
        settings: those of training, learner and tasks.
        more: further entries.
        resumed: whether the run goes on; then it was started when it says so.
        files: path → content of what else belongs to the run, such as its tokenizer.

    Raises:
        MetaftError: if a file cannot be written.
    """
    now = datetime.now(UTC).isoformat(timespec="seconds")
    record = {"command": command, "settings": dict(settings), "environment": environment(), "state": "running", **more}
    record |= {"started": run.record().get("started"), "resumed": now} if resumed else {"started": now}
    # The record last: a folder is a run, and can be resumed, once all that resuming needs is there.
    for name, content in (files or {}).items():
        (run.path / name).parent.mkdir(parents=True, exist_ok=True)
        write_atomically(run.path / name, content)
    if config is not None:
        record |= {"kind": config.command, "config": config.model_dump()}
        write_atomically(run.path / "config.toml", to_toml(config).encode())
    run.write_record(**record)
