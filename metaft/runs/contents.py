"""What a command's folder holds: whether a folder can be taken to begin, to go on or to replace."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from metaft.errors import MetaftError
from metaft.files import folder_path


@dataclass(frozen=True)
class Contents:
    """What a command's folder holds.

    Args:
        what: it is called, such as "run".
        record: the file that makes a folder one.
        writes: names, or patterns of names, of what is written there; none of these may be a link.
        is_ours: whether the record in a folder is one that metaft wrote.
        is_free: whether a folder without a record but with entries of these names can be taken.
        replaced: whether ``--overwrite`` replaces it.
        resumed: whether ``--resume`` goes on with it.
    """

    what: str
    record: str
    writes: tuple[str, ...]
    is_ours: Callable[[Path], bool]
    is_free: Callable[[Collection[str]], bool]
    replaced: bool = True
    resumed: bool = True

    def check(self, folder: Path, *, resume: bool, overwrite: bool = False) -> bool:
        """Say whether a folder can be taken, without touching anything.

        Args:
            folder: which need not exist.
            resume: whether to go on with what is there.
            overwrite: whether to replace it.

        Returns:
            Whether there is something to go on with or to replace.

        Raises:
            MetaftError: if it is taken, holds something else, or nothing to go on with.
        """
        if resume and overwrite:
            raise MetaftError("resume and overwrite exclude each other; choose one")
        folder_path(folder)
        found = sorted(folder.iterdir()) if folder.is_dir() else []
        for entry in (entry for name in self.writes for entry in found if fnmatch(entry.name, name)):
            if entry.is_symlink():
                raise MetaftError(f"{entry} is a link; a {self.what} writes into its own folder alone")
        there = (folder / self.record).exists()
        if there and not self.is_ours(folder):
            raise MetaftError(
                f"{folder} already holds a {self.record}, but not one that metaft wrote; nothing of it is touched: "
                "give another --out"
            )
        if resume and not there:
            raise MetaftError(f"no {self.what} in {folder} to resume; leave out --resume to start one")
        if there and not resume and not overwrite:
            ways = ["--resume to go on with it"] * self.resumed + ["--overwrite to replace it"] * self.replaced
            raise MetaftError(f"{folder} already holds a {self.what}; give {', '.join(ways)}, or another --out")
        if not there and not self.is_free({entry.name for entry in found}):
            raise MetaftError(f"{folder} is not empty and holds no {self.what}; give another --out")
        return there
