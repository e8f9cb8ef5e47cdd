"""JSON that any program can read: without NaN and infinity."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from metaft.files import write_atomically


def finite(value: Any) -> Any:
    """A value as JSON can hold it.

    Args:
        value: numbers, texts, and lists and mappings of them.

    Returns:
        The same; a number that is not finite becomes None.
    """
    if isinstance(value, Mapping):
        return {name: finite(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_json(path: str | Path, value: Any) -> None:
    """Write a JSON file, whole or not at all.

    Args:
        path: the file to make or replace.
        value: its content; what JSON does not know is written as text.

    Raises:
        MetaftError: if the file cannot be written.
    """
    text = json.dumps(finite(value), indent=1, ensure_ascii=False, default=str)
    write_atomically(path, text.encode() + b"\n")
