"""What ``--help`` says happens where an option is left out: asked of the settings, not written down twice."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping
from typing import Any

from metaft.errors import MetaftError
from metaft.parts import NEEDED
from metaft.settings.config import CommandSettings, RunConfig, validated
from metaft.settings.family import BY_DATASET, REGRESSIONS
from metaft.settings.published import BY_METHOD, MANY

DATASETS = ("glyphs", "omniglot", "mnist", "mini-imagenet", "cifar-fs", "folder", "sinusoid", "table")
MOST_METHODS = 1
"""So many values of single methods are written out; where there are more, help says that there are some."""

_OWN = re.compile(r"(.*) \[([^\[\]]*)\]", flags=re.DOTALL)


def help_text(name: str, kind: type[CommandSettings]) -> str:
    """A setting's description with its defaults, in brackets.

    Args:
        name: of the setting.
        kind: the command's settings.

    Returns:
        The text. What a description says in brackets at its end stands for the default where that is None.
    """
    field = kind.model_fields[name]
    found = _OWN.fullmatch(str(field.description))
    text, own = (found[1], found[2]) if found else (str(field.description), "")
    plain = settled(kind).get(name)
    if name == "dataset" and kind is not RunConfig:
        text = text.replace("sinusoid, table", "mnist" if kind.command == "distill" else "").replace(", ,", ",")
    if own.startswith("the method's own"):  # and so by every data set
        return f"{text} [{own}]"
    parts: list[str] = [own] if own else [] if plain is None else [f"default: {_word(plain)}"]
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
    """Where another default holds: with a data set, a method, many ways, a time budget."""
    plain = settled(kind).get(name)
    sets = {d: settled(kind, dataset=d) for d in DATASETS if d in known_datasets(kind)}
    by_value: dict[Any, list[str]] = {}
    for dataset, values in sets.items() if name != "dataset" else ():
        if values and values[name] != plain:
            by_value.setdefault(values[name], []).append(dataset)
    for value, datasets in by_value.items():
        yield f"{', '.join(datasets)}: {_word(value)}"
    if settled(kind, minutes=1.0).get(name) != plain and name != "minutes":
        yield f"with minutes: {_word(settled(kind, minutes=1.0)[name])}"
    if kind is not RunConfig or (own and name != "train_ways"):
        return
    if settled(kind, ways=MANY)[name] != plain and name != "ways":
        yield f"from {MANY} ways on: {_word(settled(kind, ways=MANY)[name])}"
    methods: dict[tuple[Any, tuple[str, ...]], list[str]] = {}
    for method in BY_METHOD if name not in ("learner", "dataset") else ():
        alone = {d: settled(kind, dataset=d, learner=method) for d in sets}
        for value in dict.fromkeys(alone[d][name] for d in sets if alone[d] and alone[d][name] != sets[d][name]):
            where = tuple(d for d in sets if alone[d] and alone[d][name] == value != sets[d][name])
            methods.setdefault((value, where), []).append(method)
    if len(methods) > MOST_METHODS:
        yield "some methods have their own"
    else:
        for (value, where), names in methods.items():
            place = "" if len(where) == len(sets) else f" on {', '.join(where)}"
            yield f"{', '.join(names)}{place}: {_word(value)}"


def known_datasets(kind: type[CommandSettings]) -> tuple[str, ...]:
    """The data sets whose defaults a command has a use for."""
    if kind is RunConfig:
        return ("glyphs", "omniglot", *BY_DATASET)
    return tuple(d for d in DATASETS if d not in REGRESSIONS and (d != "mnist" or kind.command == "distill"))


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
