"""What ``--help`` says happens where an option is left out: asked of the settings, not written down twice."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from metaft.errors import MetaftError
from metaft.parts import NEEDED
from metaft.settings.config import CommandSettings, RunConfig, validated
from metaft.settings.defaults import BY_DATASET, BY_METHOD, KINDS, REGRESSIONS, TEXTS
from metaft.settings.published import MANY

DATASETS = tuple(KINDS)
NO_IMAGES = "sinusoid, table, intents and others of texts (see metaft data), texts:PATH (your own)"
"""What the help of ``dataset`` has that only meta-training takes."""
ALL_TEXTS = "all texts"
"""Stands for all data sets of texts."""
_OWN = re.compile(r"(.*) \[([^\[\]]*)\]", flags=re.DOTALL)


def description(name: str, kind: type[CommandSettings]) -> tuple[str, str]:
    """What a setting is, and what stands for its default where that is None.

    Args:
        name: of the setting.
        kind: the command's settings.

    Returns:
        Both; the latter is what the setting's help says in brackets at its end, empty if nothing.
    """
    text = " ".join(str(kind.model_fields[name].description).split())
    found = _OWN.fullmatch(text)
    return (found[1], found[2]) if found else (text, "")


def help_text(name: str, kind: type[CommandSettings]) -> str:
    """A setting's description with its defaults, in brackets.

    Args:
        name: of the setting.
        kind: the command's settings.

    Returns:
        The text.
    """
    text, own = description(name, kind)
    plain = settled(kind).get(name)
    if name == "dataset" and kind is not RunConfig:
        text = text.replace(NO_IMAGES, "mnist" if kind.command == "distill" else "").replace(", ,", ",")
    parts: list[str] = [own] if own else [] if plain is None else [f"default: {_word(plain)}"]
    if not own.startswith("the method's own"):  # and so by every data set
        parts += _others(name, kind, own)
    return f"{text} [{'; '.join(parts)}]" if parts else text


@functools.cache
def settled(kind: type[CommandSettings], **given: Any) -> Mapping[str, Any]:
    """All settings of a command of which some are given.

    Args:
        kind: the command's settings.
        given: setting → value.

    Returns:
        Setting → value; empty where these do not go together.
    """
    try:
        return validated(kind, given).model_dump()
    except MetaftError:
        return {}


def _others(name: str, kind: type[CommandSettings], own: str) -> Iterator[str]:
    """Where another default holds: with a data set, a time budget, many ways, a method."""
    plain = settled(kind).get(name)
    by_set = {d: found[name] for d in known_datasets(kind) if name != "dataset" and (found := settled(kind, dataset=d))}
    for value in dict.fromkeys(by_set.values()):
        if value != plain:
            yield f"{_named(d for d in by_set if by_set[d] == value)}: {_word(value)}"
    if name != "minutes" and (value := settled(kind, minutes=1.0).get(name)) != plain:
        yield f"with minutes: {_word(value)}"
    if kind is not RunConfig or (own and name != "train_ways"):
        return
    if name != "ways" and (value := settled(kind, ways=MANY)[name]) != plain:
        yield f"from {MANY} ways on: {_word(value)}"
    methods: dict[tuple[Any, tuple[str, ...]], list[str]] = {}
    for method in BY_METHOD if name != "learner" else ():
        alone = {d: settled(kind, dataset=d, learner=method).get(name, by_set[d]) for d in by_set}
        for value in dict.fromkeys(alone[d] for d in by_set if alone[d] != by_set[d]):
            where = tuple(d for d in by_set if alone[d] == value != by_set[d])
            methods.setdefault((value, where), []).append(method)
    if len(methods) > 1:
        yield "some methods have their own"
        return
    for (value, where), names in methods.items():
        place = "" if len(where) == len(by_set) else f" on {_named(where)}"
        yield f"{', '.join(names)}{place}: {_word(value)}"


def _named(sets: Iterable[str]) -> str:
    """Data sets in a list; those of texts by one name where all of them are in it."""
    names = list(sets)
    if not set(TEXTS) <= set(names):
        return ", ".join(names)
    return ", ".join([*(name for name in names if name not in TEXTS), ALL_TEXTS])


def known_datasets(kind: type[CommandSettings]) -> tuple[str, ...]:
    """The data sets whose defaults a command has a use for."""
    if kind is RunConfig:
        return ("glyphs", "omniglot", *BY_DATASET)
    return tuple(d for d in DATASETS if d not in (*REGRESSIONS, *TEXTS) and (d != "mnist" or kind.command == "distill"))


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def default_text(default: object) -> str:
    """What stands for an option's default: nothing where one has to be given, a dash where the part chooses."""
    if default is NEEDED:
        return "needed"
    if default is None:
        return "–"
    return str(default).lower() if isinstance(default, bool) else str(default)
