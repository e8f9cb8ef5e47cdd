"""Defaults by data set and by method: ``defaults.toml``, read once."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from metaft.data.texts.table import TEXTS as _ROWS

Defaults = dict[str, Any]


def _given(table: Any) -> Any:
    """A table in which "none" has become None."""
    if isinstance(table, dict):
        return {name: _given(value) for name, value in table.items()}
    return None if table == "none" else table


_READ = _given(tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8")))

KINDS: dict[str, str] = _READ["kinds"] | dict.fromkeys(_ROWS, "texts")
"""Data set → kind of its tasks: "characters", "digits", "natural", "texts" or "regression"."""

REGRESSIONS = tuple(name for name, kind in KINDS.items() if kind == "regression")
"""The families that are no images."""

TEXTS = tuple(_ROWS)


def _of_texts(name: str) -> Defaults:
    """What the row of a data set of texts says; nothing for others."""
    if name not in _ROWS:
        return {}
    row = _ROWS[name]
    said = {"scheme": row.schemes[0] if row.schemes else None, "ways": row.ways, "max_words": row.max_words}
    return {setting: value for setting, value in said.items() if value is not None}


BY_DATASET: dict[str, Defaults] = {
    name: _READ["by_kind"][kind] | _READ["by_data_set"].get(name, {}) | _of_texts(name)
    for name, kind in KINDS.items()
    if kind in _READ["by_kind"]
}
"""Defaults that differ from the fields' own (those are for images of characters), by data set."""

OF_DISTILLATION: dict[str, Defaults] = _READ["distill"]
"""Those of distillation that differ from those of ``metaft pretrain``, by data set."""

OF_WORDS: Defaults = _READ["words"]
"""Those of training on the words of a corpus."""

BY_METHOD: dict[str, dict[str, Defaults]] = _READ["methods"]
"""What was published: method → kind of tasks → settings."""
