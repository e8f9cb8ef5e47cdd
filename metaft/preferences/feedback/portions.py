"""What a judge or a reviser has done so far, kept beside its rows until all is done, so that it can go on."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from metaft.errors import MetaftError
from metaft.files import clear_disk_errors, write_atomically

Portion = Mapping[str, Any]


def unfinished_of(path: Path) -> Path:
    """The file beside rows that holds what is done of unfinished work: the settings, then a portion a line."""
    return path.with_suffix(".unfinished")


@dataclass
class Portions:
    """Portions of work, each written when it is done.

    Args:
        path: the file of rows; None to keep nothing.
        told: what identifies the work, plain values by name.
        resume: whether to go on with what is there.

    Raises:
        MetaftError: if there is nothing to go on with, or it is other work.
    """

    path: Path | None
    told: Mapping[str, Any]
    resume: bool = False
    done: list[dict[str, Any]] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        if self.path is None:
            return
        self.told = json.loads(_line(self.told))
        if self.resume:
            self.done = self._read()
        lines = "".join(map(_line, [self.told, *self.done]))  # without a line that was cut off
        write_atomically(unfinished_of(self.path), lines.encode("utf-8", "replace"))

    def add(self, portion: Portion) -> None:
        """Keep a portion.

        Args:
            portion: plain values by name.

        Raises:
            MetaftError: if it cannot be written.
        """
        if self.path is None:
            return
        file = unfinished_of(self.path)
        with clear_disk_errors(str(file)), file.open("ab") as out:
            out.write(_line(portion).encode("utf-8", "replace"))

    def finish(self) -> None:
        """All is done, and written elsewhere."""
        if self.path is not None:
            unfinished_of(self.path).unlink(missing_ok=True)

    def _read(self) -> list[dict[str, Any]]:
        assert self.path is not None
        file = unfinished_of(self.path)
        if not file.exists():
            what = "is finished" if self.path.exists() else "was not begun"
            raise MetaftError(f"--resume: {self.path} {what}; leave --resume out")
        with clear_disk_errors(str(file)):
            lines = file.read_bytes().splitlines(keepends=True)
        try:
            whole = [json.loads(line) for line in lines if line.endswith(b"\n")]
        except ValueError:
            raise MetaftError(f"{file} cannot be read; begin anew with --overwrite") from None
        if not whole:
            raise MetaftError(f"{file} is empty; begin anew with --overwrite")
        before, *done = whole
        for name, one, other in _differences(before, self.told):
            raise MetaftError(
                f"--resume: {name} was {_short(one)}, and is {_short(other)} now; say the same as before, or begin "
                "anew with --overwrite"
            )
        return done


def _line(value: Portion) -> str:
    return json.dumps(value, ensure_ascii=False) + "\n"


def _differences(before: Portion, now: Portion) -> Iterator[tuple[str, object, object]]:
    for name in dict.fromkeys((*before, *now)):
        one, other = before.get(name), now.get(name)
        if isinstance(one, Mapping) and isinstance(other, Mapping):
            yield from _differences(one, other)
        elif one != other:
            yield name, one, other


def _short(value: object) -> str:
    said = repr(value)
    return said if len(said) < 60 else f"{said[:59]}…"
