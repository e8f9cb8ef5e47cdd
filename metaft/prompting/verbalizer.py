"""A verbalizer: which words stand for a class (Schick & Schütze 2021)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from metaft.errors import MetaftError, nearest

Verbalizer = Mapping[str, tuple[str, ...]]
"""Class → the words that stand for it, each of any number of the model's pieces; any of them is the answer."""


def words_for(names: Sequence[str], verbalizer: Verbalizer) -> list[tuple[str, ...]]:
    """The words of some classes; a class that it does not speak of has its own name.

    Args:
        names: of the classes.
        verbalizer: of some of them.

    Returns:
        Words, a class each.

    Raises:
        MetaftError: if two classes have a word in common.
    """
    found = [tuple(verbalizer.get(name, (plain(name),))) for name in names]
    check(dict(zip(names, found, strict=True)))
    return found


def check(verbalizer: Verbalizer, names: Sequence[str] | None = None, whose: str = "verbalizer") -> None:
    """Refuse what cannot tell classes apart.

    Args:
        verbalizer: class → words.
        names: all classes that there are; None where nobody knows.
        whose: stands at the beginning of a message.

    Raises:
        MetaftError: if a class has no word, two have one in common, or one is unknown or missing.
    """
    owners: dict[str, str] = {}
    for name, words in verbalizer.items():
        if not words or not all(word.strip() for word in words):
            raise MetaftError(f"{whose}: class {name!r} has an empty word; give one or several")
        for word in words:
            other = owners.setdefault(word.strip(), name)
            if other != name:
                raise MetaftError(f"{whose}: classes {other!r} and {name!r} both have the word {word.strip()!r}")
    if names is None:
        return
    for name in verbalizer:
        if name not in names:
            raise MetaftError(f"{whose} speaks of an unknown class {name!r}{nearest(name, names)}")
    missing = [name for name in names if name not in verbalizer]
    if missing and verbalizer:
        raise MetaftError(f"{whose} has no words for class {missing[0]!r}; give them, or leave the verbalizer out")


def described(verbalizer: Verbalizer) -> str:
    """Its words in one line, as a report shows them."""
    return "; ".join(f"{name}: {' or '.join(words)}" for name, words in verbalizer.items()) or "the classes' names"


def plain(name: str) -> str:
    """The name of a class as people write it: ``card_declined`` is "card declined"."""
    return re.sub(r"[\s_./:-]+", " ", name).strip() or name
