"""Settings of ``metaft meta-train`` that come with the package: the experiments', by name."""

from __future__ import annotations

from pathlib import Path

from metaft.errors import MetaftError, nearest

FOLDER = Path(__file__).parent
NAMES = tuple(sorted(file.stem for file in FOLDER.glob("*.toml")))


def find_config(given: str | None) -> str | None:
    """The file that ``--config`` names.

    Args:
        given: a path, or one of `NAMES`; a file of that name comes first. None if the option was not given.

    Returns:
        The path.

    Raises:
        MetaftError: if a name without folder and suffix is neither a file nor one of `NAMES`.
    """
    if given is None or Path(given).suffix or Path(given).name != given or Path(given).exists():
        return given
    if given not in NAMES:
        raise MetaftError(f"unknown config {given!r}: no file, and metaft has none of that name{nearest(given, NAMES)}")
    return str(FOLDER / f"{given}.toml")
