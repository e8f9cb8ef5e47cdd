"""A learner as a command line names it: a name with options, a run directory, or an import path."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from metaft.errors import MetaftError, nearest
from metaft.parts import read_options
from metaft.plugins import is_import_path
from metaft.seeds import require_seed
from metaft.tables import LEARNERS
from metaft.zoo import PREFIX, is_entry, run_path

SEED = "{seed}"
RANDOM = "random"
"""The backbone that is a network with random weights."""
_IMPORT = re.compile(r"([^:]+:[^:]+)(?::(.*))?")


@dataclass(frozen=True)
class Spec:
    """What was asked for.

    Args:
        text: as given.
        kind: "table" (a name of `LEARNERS`), "run" (a run directory) or "import" (an import path).
        target: the name, directory or import path.
        options: option → value as text.
        label: what tables are to call it; empty if that was left open.
    """

    text: str
    kind: Literal["table", "run", "import"]
    target: str
    options: dict[str, str] = field(default_factory=dict)
    label: str = ""

    def at(self, seed: int | None) -> Spec:
        """The same with ``{seed}`` filled in."""
        if seed is None:
            return self
        fill = lambda text: text.replace(SEED, str(seed))
        options = {name: fill(value) for name, value in self.options.items()}
        return dataclasses.replace(self, text=fill(self.text), target=fill(self.target), options=options)


def parse(text: str) -> Spec:
    """Read one learner.

    Args:
        text: ``name``, ``name:option=value,option=value``, likewise with a run directory (a path, the name of a folder
            that exists, or ``zoo:NAME``) or an import path ``package.module:Name`` for the name. Every learner takes
            ``label=…``; a piece without ``=`` belongs to the value before it (``scope=head,biases``).

    Returns:
        What was asked for; options are not checked yet.

    Raises:
        MetaftError: if it is none of these, or an option is malformed or given twice.
    """
    target, _, rest = text.partition(":")
    imported = _IMPORT.fullmatch(text)
    kind: Literal["table", "run", "import"]
    if is_entry(text):
        name, _, rest = rest.partition(":")
        kind, target = "run", str(run_path(PREFIX + name))
    elif target in LEARNERS:
        kind = "table"
    elif os.sep in target or SEED in target or os.path.isdir(target):
        kind = "run"
    elif imported and is_import_path(imported[1]):
        kind, target, rest = "import", imported[1], imported[2] or ""
    else:
        hint = nearest(target, LEARNERS)
        others = "; or a run directory, zoo:NAME, or an import path mypackage.mymodule:MyLearner"
        more = "" if "did you mean" in hint else others
        raise MetaftError(f"unknown learner {target!r}{hint}{more}")
    options = read_options(f"learner {text!r}", rest)
    if "backbone" in options:
        options["backbone"] = str(run_path(options["backbone"]))
    return Spec(text, kind, target, options, options.pop("label", ""))


def labels(specs: Sequence[Spec]) -> list[str]:
    """Short names for tables, all different.

    Args:
        specs: the learners.

    Returns:
        The label asked for; else the name, or the last part of a path, with the options that tell it apart from
        others of that name.

    Raises:
        MetaftError: if two learners are the same, or were given the same label.
    """
    bases = [spec.label or _base(spec) for spec in specs]
    found = []
    for spec, base in zip(specs, bases, strict=True):
        alike = [other for other, name in zip(specs, bases, strict=True) if name == base]
        telling = [
            f"{name}={_short(value)}"
            for name, value in spec.options.items()
            if any(other.options.get(name) != value for other in alike)
        ]
        found.append(base if spec.label or not telling else f"{base} ({', '.join(telling)})")
    # Folders of one name in different places are called by their whole path.
    found = [
        spec.text if found.count(label) > 1 and not spec.label else label
        for spec, label in zip(specs, found, strict=True)
    ]
    for label in found:
        if found.count(label) > 1:
            raise MetaftError(f"learner {label!r} is given twice; tell them apart by an option label=…")
    return found


def _base(spec: Spec) -> str:
    return spec.target.rpartition(":")[2] if spec.kind == "import" else _short(spec.target)


def _short(value: str) -> str:
    """The last part of a path, without the seed."""
    return _trimmed(Path(value).name.replace(SEED, "")) if os.sep in value or SEED in value else value


def _trimmed(name: str) -> str:
    return re.sub(r"[-_.]{2,}", "-", name).strip("-_. ") or SEED


def read_numbers(name: str, text: str, least: int) -> tuple[int, ...]:
    """Whole numbers joined by commas.

    Args:
        name: the option's, for the message.
        text: such as ``1,5,10``.
        least: the smallest allowed.

    Returns:
        The numbers, in order.

    Raises:
        MetaftError: if they are not, or one is given twice.
    """
    pieces = [piece.strip() for piece in text.rstrip(",").split(",")]
    if not all(piece.isdecimal() and len(piece) <= 18 and int(piece) >= least for piece in pieces):
        raise MetaftError(f"{name} = {text}: should be whole numbers of at least {least}, joined by commas")
    numbers = tuple(map(int, pieces))
    _require_different(name, numbers)
    return numbers


def read_seeds(text: str) -> tuple[int, ...]:
    """Seeds: a count (``3`` for 0, 1, 2), or the seeds themselves joined by commas (``0,4`` or ``7,``).

    Raises:
        MetaftError: if it is neither.
    """
    numbers = read_numbers("seeds", text, 0)
    for number in numbers:
        require_seed(number, "seeds")
    if "," in text:
        return numbers
    if not 1 <= numbers[0] <= 1000:
        raise MetaftError(f"seeds = {text}: should be a count from 1 to 1000, or seeds joined by commas (7, for one)")
    return tuple(range(numbers[0]))


def _require_different(name: str, numbers: Iterable[int]) -> None:
    listed = list(numbers)
    for number in listed:
        if listed.count(number) > 1:
            raise MetaftError(f"{name}: {number} is given twice")
