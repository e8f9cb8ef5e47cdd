"""Trained learners that come with metaft: each a small run directory with a card, all under one list of checksums."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from metaft.errors import MetaftError, nearest

PREFIX = "zoo:"
FOLDER = Path(__file__).parent
SUMS, CARD = "SHA256SUMS", "card.json"


def names() -> tuple[str, ...]:
    """The entries that are there."""
    return tuple(sorted(file.parent.name for file in FOLDER.glob(f"*/{CARD}")))


def is_entry(text: str | Path) -> bool:
    """Whether a user names an entry."""
    return str(text).startswith(PREFIX)


def run_path(text: str | Path) -> str | Path:
    """The run directory that a user names.

    Args:
        text: ``zoo:NAME``, or the path of a run.

    Returns:
        Of an entry its folder, every file of which was found as it was published; a path as it is.

    Raises:
        MetaftError: if there is no such entry, or a file of it is missing, changed or additional.
    """
    if not is_entry(text):
        return text
    name = str(text).removeprefix(PREFIX)
    if name not in names():
        close = nearest(name, names())
        known = f"{close}; known: {', '.join(names())}" if "did you mean" in close else close
        raise MetaftError(f"no {name!r} in the zoo{known}")
    _require_unchanged(name)
    return str(FOLDER / name)


def card(name: str) -> dict[str, Any]:
    """What is told of an entry: data, licence, command, seed, scores, versions.

    Args:
        name: one of `names`.

    Raises:
        MetaftError: as `run_path`.
    """
    found: dict[str, Any] = json.loads((Path(run_path(PREFIX + name)) / CARD).read_text(encoding="utf-8"))
    return found


def checksums(folder: Path) -> dict[str, str]:
    """The digests of all files of an entry.

    Args:
        folder: of the entry.

    Returns:
        Path as the list of checksums has it → SHA-256.
    """
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return {file.relative_to(folder.parent).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def _require_unchanged(name: str) -> None:
    lines = (FOLDER / SUMS).read_text(encoding="utf-8").splitlines()
    listed = {file: digest for digest, file in (line.split("  ", 1) for line in lines) if file.startswith(f"{name}/")}
    there = checksums(FOLDER / name)
    for file in sorted({*listed, *there}):
        if listed.get(file) != there.get(file):
            how = "is missing" if file not in there else "is not on the list" if file not in listed else "was changed"
            raise MetaftError(f"{PREFIX}{name}: {FOLDER / file} {how}, by the checksums; install metaft anew")
