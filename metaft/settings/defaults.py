"""Defaults by data set and by method: ``defaults.toml``, read once."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

Defaults = dict[str, Any]


def _given(table: Any) -> Any:
    """A table in which "none" has become None."""
    if isinstance(table, dict):
        return {name: _given(value) for name, value in table.items()}
    return None if table == "none" else table


_READ = _given(tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8")))

KINDS: dict[str, str] = _READ["kinds"]
"""Data set → kind of its tasks: "characters", "digits", "natural", "texts" or "regression"."""

REGRESSIONS = tuple(name for name, kind in KINDS.items() if kind == "regression")
"""The families that are no images."""

TEXTS = tuple(name for name, kind in KINDS.items() if kind == "texts")

BY_DATASET: dict[str, Defaults] = {
    name: _READ["by_kind"][kind] | _READ["by_data_set"].get(name, {})
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
