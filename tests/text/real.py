"""The folder of real data sets of texts."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def real_root(*files: str) -> Path:
    """The folder that holds some files; skips the test where there is none.

    Args:
        files: their paths in it.

    Returns:
        The folder.
    """
    given = os.environ.get("METAFT_DATA")
    missing = next((file for file in files if not given or not (Path(given) / file).is_file()), None)
    if missing is not None:
        pytest.skip(f"METAFT_DATA names no folder with {missing}")
    return Path(str(given))
