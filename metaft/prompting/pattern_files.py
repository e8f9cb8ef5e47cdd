"""Patterns and words of data sets in TOML files: those that come with metaft, and one's own."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from metaft.errors import MetaftError, first_line, nearest
from metaft.prompting.pattern import Pattern
from metaft.prompting.verbalizer import Verbalizer, check

FOLDER, DEFAULT = Path(__file__).parent / "patterns", "default"
KEYS, OF_PATTERN = ("words", "pattern", "like"), ("name", "text", "channel", "instruction", "between", "words")


@dataclass(frozen=True)
class Patterns:
    """Ways to write the inputs of a data set.

    Args:
        patterns: name → pattern; the first is the default.
        words: class → words, where a pattern has none of its own.
    """

    patterns: Mapping[str, Pattern]
    words: Verbalizer = field(default_factory=dict)

    def find(self, name: str | None, pairs: bool = False) -> Pattern:
        """A pattern.

        Args:
            name: of it; the first that takes such inputs if None.
            pairs: whether inputs are pairs of texts.

        Raises:
            MetaftError: if there is none.
        """
        if name is None:
            fitting = [pattern for pattern in self.patterns.values() if pattern.takes_pairs == pairs]
            if not fitting:
                kind = "{first} and {second}, for pairs" if pairs else "{text}"
                raise MetaftError(f"none of the patterns {', '.join(self.patterns)} has places {kind}; give one")
            return fitting[0]
        if name not in self.patterns:
            raise MetaftError(f"unknown pattern {name!r}{nearest(name, self.patterns)}")
        return self.patterns[name]

    def words_of(self, pattern: Pattern) -> Verbalizer:
        """The words that go with a pattern."""
        return pattern.words or self.words


def of_dataset(name: str) -> Patterns:
    """Those that come with metaft for a data set, or for any texts if there are none of its own.

    Args:
        name: of the data set.
    """
    file = FOLDER / f"{name}.toml"
    return _shipped(file if file.is_file() else FOLDER / f"{DEFAULT}.toml")


def find_pattern(asked: str | None, dataset: str, pairs: bool) -> tuple[Patterns, Pattern]:
    """A pattern as it is asked for, and the file's others.

    Args:
        asked: the name of one that comes with metaft for the data set; or the path of a TOML file, perhaps with
            ``#name``; the first that takes such inputs if None.
        dataset: what the data set is called.
        pairs: whether its inputs are pairs of texts.

    Returns:
        All patterns, and the one.

    Raises:
        MetaftError: if there is none.
    """
    file, _, name = (asked or "").partition("#")
    own = is_file(file)
    found = read(file) if own else of_dataset(dataset)
    return found, found.find((name or None) if own else asked, pairs)


def is_file(asked: str) -> bool:
    """Whether a pattern is asked for by a file, and not by its name."""
    return asked.endswith(".toml") or (bool(asked) and Path(asked).is_file())


@lru_cache(maxsize=32)
def _shipped(file: Path) -> Patterns:
    return read(file)


def read(file: str | Path) -> Patterns:
    """Patterns from a file.

    Args:
        file: TOML with tables ``[[pattern]]``, each of a ``name`` and a ``text``, perhaps ``channel``,
            ``instruction``, ``between`` and ``words``, and perhaps a table ``[words]``; or ``like = "sst2"`` for what
            comes with another data set.

    Returns:
        The patterns.

    Raises:
        MetaftError: if it cannot be read, or a pattern or word does not do.
    """
    try:
        held = tomllib.loads(Path(file).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise MetaftError(f"cannot read patterns {file}: {getattr(error, 'strerror', None) or error}") from None
    except tomllib.TOMLDecodeError as error:
        raise MetaftError(f"{file} is not valid TOML: {first_line(error)}") from None
    _require_keys(held, KEYS, str(file))
    if "like" in held:
        return of_dataset(str(held["like"]))
    words = _words(held.get("words", {}), f"{file}: words")
    found: dict[str, Pattern] = {}
    rows = held.get("pattern", [])
    for number, row in enumerate(rows if isinstance(rows, list) else [], start=1):
        whose = f"{file}: pattern {number}"
        _require_keys(row, OF_PATTERN, whose)
        if not isinstance(row.get("name"), str) or not isinstance(row.get("text"), str):
            raise MetaftError(f"{whose} needs a name and a text")
        texts = {key: str(row[key]) for key in OF_PATTERN[:-1] if key in row}
        if row["name"] in found:
            raise MetaftError(f"{whose}: the name {row['name']!r} is taken")
        found[row["name"]] = Pattern(**texts, words=_words(row.get("words", {}), f"{whose}: words"))
    if not found:
        raise MetaftError(f"{file} has no [[pattern]]; give one with a name and a text")
    return Patterns(found, words)


def _words(held: Any, whose: str) -> Verbalizer:
    if not isinstance(held, dict):
        raise MetaftError(f"{whose} should be a table, class = word or class = [word, …]")
    found = {}
    for name, words in held.items():
        listed = [words] if isinstance(words, str) else words
        if not isinstance(listed, list) or not all(isinstance(word, str) for word in listed):
            raise MetaftError(f"{whose}: {name} should be a word or a list of words")
        found[name] = tuple(listed)
    check(found, whose=whose)
    return found


def _require_keys(held: Any, known: tuple[str, ...], whose: str) -> None:
    if not isinstance(held, dict):
        raise MetaftError(f"{whose} should be a table")
    for key in held:
        if key not in known:
            raise MetaftError(f"{whose} has an unknown {key!r}{nearest(key, known)}; known: {', '.join(known)}")
