"""Opening a run directory: which settings, which folder, whether to begin, to go on or to replace."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from metaft.configs import find_config
from metaft.distributed.place import place
from metaft.errors import MetaftError
from metaft.runs.directory import RunDirectory
from metaft.runs.own_adapters import with_own_adapters
from metaft.runs.resuming import require_made_by, require_same_config
from metaft.settings.config import CommandSettings, RunConfig, load_config
from metaft.training.ranks import after_restart

C = TypeVar("C", bound=CommandSettings)


@dataclass(frozen=True)
class Opening(Generic[C]):
    """What is to be trained, and where.

    Args:
        config: the settings.
        out: the run directory; checked, not made yet.
        resume: go on with the run there.
        overwrite: replace it.
        progress: show it on standard error, and a table at the end.
        command: what the user typed.
        dry_run: only say what the run would need.
        taken: why the run directory cannot be taken, where that is asked for; empty if it can.
    """

    config: C
    out: Path
    resume: bool = False
    overwrite: bool = False
    progress: bool = True
    command: str | None = None
    dry_run: bool = False
    taken: str = ""

    @property
    def to_build(self) -> C:
        """The settings to build from: a run that goes on begins from its own copies of adapters."""
        return with_own_adapters(self.config, self.out) if self.resume else self.config

    @property
    def how(self) -> dict[str, Any]:
        """As keyword arguments of a function that trains.

        Raises:
            MetaftError: if nothing is to be trained.
        """
        if self.dry_run:
            raise MetaftError(f"metaft {self.config.command} has no --dry-run")
        return {name: value for name, value in vars(self).items() if name not in ("dry_run", "taken")}


def settled_settings(kind: type[C], file: str | None, given: Mapping[str, Any]) -> C:
    """All settings of a new run.

    Args:
        kind: the command's settings.
        file: a TOML file with settings; of meta-training also the name of one that comes with metaft.
        given: setting → value, overriding the file; None means not given.

    Raises:
        MetaftError: for a bad setting, or a file that cannot be read.
    """
    return load_config(find_config(file) if kind is RunConfig else file, given, kind)


def opening(
    kind: type[C],
    given: Mapping[str, Any],
    *,
    file: str | None,
    out: str | None,
    resume: bool,
    overwrite: bool,
    quiet: bool,
    command: str,
    dry_run: bool = False,
) -> Opening[C]:
    """Settle what a command that trains was asked for, before any data is read; nothing is written.

    Args:
        kind: the command's settings.
        given: setting → value, overriding the file; None means not given.
        file: a TOML file with settings; of meta-training also the name of one that comes with metaft.
        out: the run directory; by default named after what is trained.
        resume: go on with the run there, with its own settings.
        overwrite: replace it.
        quiet: show nothing.
        command: what the user typed.
        dry_run: only say what a new run would need; a folder that is taken is no error then.

    Returns:
        The settings, the folder and what to do there.

    Raises:
        MetaftError: for a bad setting, a folder that is taken, or a run of other settings or another command.
    """
    if resume and dry_run:
        raise MetaftError("--dry-run is of a new run; leave out --resume")
    if resume and file is not None:
        raise MetaftError("--resume goes on with the run's own config.toml; leave out --config")
    config, at = settled_settings(kind, file, given), place()
    folder = Path(out) if out is not None else Path("runs") / config.default_name
    again = resume
    resume, overwrite = after_restart(at, folder, resume, overwrite)
    taken = ""
    if at.first:
        try:
            RunDirectory(folder).check(resume=resume, overwrite=overwrite)
        except MetaftError as error:
            if not dry_run:
                raise
            taken = str(error)
    if again:
        require_made_by(folder, kind)
        config = load_config(folder / "config.toml", given, kind)
        require_same_config(folder, config)
    return Opening(config, folder, resume, overwrite, at.first and not quiet, command, dry_run, taken)
