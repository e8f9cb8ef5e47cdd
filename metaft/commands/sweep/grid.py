"""A grid of independent runs, from one TOML file: settings that are fixed, settings that vary, seeds."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, StrictInt

from metaft.assembly.learners import PUT_IN
from metaft.errors import MetaftError, nearest
from metaft.learners import convert
from metaft.learners.spec import Spec, parse
from metaft.plugins import found_in_file, require_trust
from metaft.runs.recorded import TRAINERS, checked
from metaft.seeds import require_seed
from metaft.settings.config import CommandSettings, RunConfig, read_toml, toml_tree, validated
from metaft.settings.family import FamilySettings
from metaft.settings.learner import ModelSettings
from metaft.tables import LEARNERS

VALIDATE = "validate"
"""The command of a grid that trains nothing: it scores a learner that adapts, such as fine-tuning."""

KEYS = ("command", "learner", "seeds", "base", "grid")
MAX_MEMBERS = 10_000
VALIDATION = ("validate_tasks", *FamilySettings.model_fields, *ModelSettings.model_fields)
"""Settings that say what a learner is validated on, and the network of a random start."""


@dataclass(frozen=True)
class Member:
    """One run of a grid.

    Args:
        name: unique, made of its settings; the name of its files.
        setting: index of its setting; members that differ by seed alone share it.
        varied: what the grid varies, by name.
        seed: its seed.
        settings: everything it is started with: the command's settings, or those of the validation tasks.
        learner: the learner's specification, for `VALIDATE`.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.=+-]*$")]
    setting: StrictInt
    varied: dict[str, bool | int | float | str]
    seed: StrictInt
    settings: dict[str, Any]
    learner: str | None = None


@dataclass(frozen=True)
class Grid:
    """A checked grid.

    Args:
        command: a command that trains, or `VALIDATE`.
        members: its runs, settings first, then seeds.
        text: the file, as it stands.
        learner: the learner's specification as given, for `VALIDATE`.
    """

    command: str
    members: tuple[Member, ...]
    text: str = field(repr=False)
    learner: str | None = None


def read_grid(path: str | Path) -> Grid:
    """Read a grid and check every member of it.

    Args:
        path: TOML: ``command``, ``seeds`` (a list, or how many), ``[base]`` with fixed settings (``config``: a file
            to start from, as seen from this one; both tables override it), ``[grid]`` with lists; for
            ``command = "validate"`` also ``learner``, a specification whose options the grid varies.

    Returns:
        The grid.

    Raises:
        MetaftError: if the file cannot be read, or one of its members is not sound.
    """
    text, tree = toml_tree(path, "grid")
    for key in tree:
        if key in ("split", "splits"):
            raise _no_split()
        if key not in KEYS:
            raise MetaftError(f"grid {path}: unknown entry {key!r}{nearest(key, KEYS)}")
    command = tree.get("command", "meta-train")
    if command not in (*TRAINERS, VALIDATE):
        raise MetaftError(f"grid {path}: command = {command!r}{nearest(str(command), [*TRAINERS, VALIDATE])}")
    from_file, literal = _base(tree.get("base", {}), Path(path), TRAINERS.get(command, RunConfig))
    base = from_file | literal
    varied = _varied(tree.get("grid", {}))
    if command == VALIDATE:
        found = _validation_grid(tree, base, varied, text)
    elif "learner" in tree:
        raise MetaftError(f"grid {path}: learner belongs under [base] or [grid] unless command = {VALIDATE!r}")
    else:
        for name in literal.keys() & varied.keys():
            raise MetaftError(f"{name} stands in [base] and in [grid]; leave it out of one")
        found = _training_grid(command, base, varied, _seeds(tree.get("seeds", [0])), text)
    require_trusted(found, path)
    return found


def require_trusted(grid: Grid, file: object) -> None:
    """Refuse a grid from a file that names code to import, unless the user has trusted it.

    Args:
        grid: as read.
        file: where it stands, for the message.

    Raises:
        MetaftError: naming the code.
    """
    for member in grid.members:
        named = [parse(member.learner).target] if member.learner is not None else []
        for value in (*member.settings.values(), *named):
            if isinstance(value, str):
                found_in_file(value, file)
                require_trust(value)


def _training_grid(
    command: str, base: dict[str, Any], varied: dict[str, list[Any]], seeds: list[int], text: str
) -> Grid:
    # One thread a job, unless the grid says otherwise: the jobs share the cores already.
    alone = {"workers": 1} if "workers" in TRAINERS[command].model_fields else {}
    members = []
    for number, combination, seed in _product(varied, seeds):
        settings = {**alone, **base, **combination, "seed": seed}
        checked(command, settings)
        members.append(Member(_member_name(combination, seed), number, combination, seed, settings))
    return Grid(command, _distinct(members), text)


def _validation_grid(tree: Mapping[str, Any], base: dict[str, Any], varied: dict[str, list[Any]], text: str) -> Grid:
    learner = tree.get("learner")
    if not isinstance(learner, str) or not learner:
        raise MetaftError(f'command = "{VALIDATE}" needs learner = "NAME:OPTION=VALUE,…", such as "nearest-neighbour"')
    for name in base:
        if name not in VALIDATION:
            raise MetaftError(f"[base] {name!r} says nothing about validation tasks{nearest(name, VALIDATION)}")
    validated(RunConfig, {**base, "tasks": 1})
    members = []
    for number, combination, seed in _product(varied, _seeds(tree.get("seeds", [0]))):
        spec = with_options(learner, combination).replace("{seed}", str(seed))
        _check_options(parse(spec))
        members.append(Member(_member_name(combination, seed), number, combination, seed, base, spec))
    return Grid(VALIDATE, _distinct(members), text, learner)


def with_options(learner: str, options: Mapping[str, Any]) -> str:
    """Add options to a learner's specification.

    Args:
        learner: ``name``, or ``name:option=value,…``; see ``metaft.learners.spec``.
        options: what to add.

    Returns:
        The specification.

    Raises:
        MetaftError: if the learner is unknown, or has one of the options already.
    """
    spec = parse(learner)
    for name in options:
        if not name.replace("-", "_").isidentifier():
            raise MetaftError(f"[grid] {name!r}: should be the name of an option of {spec.target!r}")
        if name.replace("-", "_") in spec.options:
            raise MetaftError(f"option {name} stands in learner = {learner!r} and in [grid]; leave it out of one")
    added = ",".join(f"{name}={_text(value)}" for name, value in options.items())
    parted = bool(spec.options or spec.label)
    return f"{learner}{',' if parted else ':'}{added}" if added else learner


def _check_options(spec: Spec) -> None:
    """A run's and an import path's options are checked when those are loaded."""
    if spec.kind == "table":
        own = {name: value for name, value in spec.options.items() if name not in ("backbone", *PUT_IN)}
        convert(f"learner {spec.target!r}", LEARNERS[spec.target], own)


def _base(base: Any, path: Path, kind: type[CommandSettings]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Settings of the file that [base] names, and those that stand in [base] itself."""
    if not isinstance(base, dict):
        raise MetaftError(f"grid {path}: [base] should hold settings")
    flat: dict[str, Any] = {}
    for name, value in base.items():
        flat |= value if name in kind.sections and isinstance(value, dict) else {name: value}
    _refuse(flat)
    file = flat.pop("config", None)
    return read_toml(path.parent / str(file), kind) if file is not None else {}, flat


def _varied(grid: Any) -> dict[str, list[Any]]:
    if not isinstance(grid, dict):
        raise MetaftError("[grid] should hold lists, such as inner_lr = [0.4, 2.0]")
    _refuse(grid)
    for name, values in grid.items():
        if not isinstance(values, list) or not values:
            raise MetaftError(f"[grid] {name} = {values}: should be a list of values to try")
        if len({json.dumps(value, default=str) for value in values}) < len(values):
            raise MetaftError(f"[grid] {name} = {values}: a value stands there twice")
    return grid


def _refuse(settings: Mapping[str, Any]) -> None:
    if "split" in settings or "splits" in settings:
        raise _no_split()
    if "seed" in settings or "seeds" in settings:
        raise MetaftError("seeds stand at the top of a grid: seeds = [0, 1, 2]")


def _no_split() -> MetaftError:
    return MetaftError("a sweep has no split: it chooses on validation classes, never on test classes; leave it out")


def _seeds(seeds: Any) -> list[int]:
    found = list(range(seeds)) if isinstance(seeds, int) and 0 < seeds <= MAX_MEMBERS else seeds
    whole = isinstance(found, list) and all(isinstance(s, int) and not isinstance(s, bool) for s in found)
    if isinstance(seeds, bool) or not whole or not found or len(set(found)) < len(found):
        raise MetaftError(f"seeds = {seeds}: should be different whole numbers, such as [0, 1, 2], or how many")
    return [require_seed(seed, "seeds") for seed in found]


def _product(varied: Mapping[str, list[Any]], seeds: list[int]) -> Iterator[tuple[int, dict[str, Any], int]]:
    """Number of the setting, the setting and a seed, member after member."""
    count = math.prod(map(len, (seeds, *varied.values())))
    if count > MAX_MEMBERS:
        raise MetaftError(f"the grid has {count:,} members, more than {MAX_MEMBERS:,}; make a list shorter")
    for number, values in enumerate(itertools.product(*varied.values())):
        for seed in seeds:
            yield number, dict(zip(varied, values, strict=True)), seed


def file_name(settings: Mapping[str, Any]) -> str:
    """Settings as a file name that can be typed, without the commas and colons that separate a learner's options.

    Args:
        settings: by name.

    Returns:
        Such as ``inner_lr=0.4+steps=5``; shortened, with a digest, where that would be too long.
    """
    text = "+".join(f"{name}={_text(value)}" for name, value in settings.items())
    name = re.sub(r"[^\w.=+-]", "_", text, flags=re.ASCII)
    return name if len(name) <= 120 else f"{name[:100]}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def _member_name(combination: Mapping[str, Any], seed: int) -> str:
    return "+".join([*([file_name(combination)] if combination else []), f"seed={seed}"])


def _distinct(members: list[Member]) -> tuple[Member, ...]:
    names = Counter(member.name for member in members)
    for name, count in names.items():
        if count > 1:
            raise MetaftError(f"two members of the grid would both be called {name!r}; change a value")
    return tuple(members)


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
