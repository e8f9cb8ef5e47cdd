"""Dialogues by name or path, without repeats, divided by prompt."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TypeVar, cast

from metaft.data.dialogues import division, fields, rows
from metaft.data.dialogues.conversation import Example, Instruction, Preference, digest
from metaft.data.dialogues.found import Found
from metaft.data.dialogues.sets import SETS, DialogueSet, Kind
from metaft.data.notes import counted, say
from metaft.data.splits import ALL, SPLITS
from metaft.data.texts import reading
from metaft.errors import MetaftError, nearest

T = TypeVar("T", Instruction, Preference)
KINDS: dict[Kind, type[Example]] = {"instructions": Instruction, "preferences": Preference}


def load(
    name: str | Path, split: str, root: str | Path | None = None, seed: int = 0
) -> list[Instruction] | list[Preference]:
    """Load one split of dialogues.

    Repeats are left out. Splits are drawn by prompt (see `metaft.data.dialogues.division`), 80 : 10 : 10.

    Args:
        name: a set of ``SETS``, the path of a ``.json``, ``.jsonl``, ``.csv`` or ``.tsv`` (packed as ``.gz`` or not),
            or several joined as in "dolly-sample+self-instruct".
        split: "train", "val", "test", or "all".
        root: where sets are looked for first; by default ``METAFT_DATA``, then ``./data``.
        seed: of the division.

    Returns:
        Instructions, or preferences.

    Raises:
        MetaftError: if there is no such set, path or split, a row cannot be read, kinds are mixed, or a split is empty.
    """
    division.check_split(split)
    found, _ = _together(name, root)
    own = found if split == ALL else _divided(found, name, seed)[split]
    return cast("list[Instruction] | list[Preference]", own)


def instructions(name: str | Path, split: str, root: str | Path | None = None, seed: int = 0) -> list[Instruction]:
    """As `load`, of instructions.

    Raises:
        MetaftError: as `load`, and for preferences.
    """
    return _only(Instruction, load(name, split, root, seed), name)


def preferences(name: str | Path, split: str, root: str | Path | None = None, seed: int = 0) -> list[Preference]:
    """As `load`, of preferences.

    Raises:
        MetaftError: as `load`, and for instructions.
    """
    return _only(Preference, load(name, split, root, seed), name)


def described(name: str | Path, root: str | Path | None = None, seed: int = 0) -> dict[str, object]:
    """What a run writes down of its dialogues.

    Args:
        name: as for `load`.
        root: likewise.
        seed: likewise.

    Returns:
        Their names and kind, how they are divided, what was left out, and for each split its examples, its different
        prompts and its digest.

    Raises:
        MetaftError: as `load`.
    """
    found, left_out = _together(name, root)
    parts = _divided(found, name, seed)
    return {
        "sets": [_named(one) for one in _parts(name)],
        "kind": next(kind for kind, own in KINDS.items() if isinstance(found[0], own)),
        "divided": f"by prompt, 80:10:10, seed {seed}",
        "left_out": left_out,
        "splits": {
            split: {"examples": len(own), "prompts": len({one.prompt for one in own}), "digest": digest(own)}
            for split, own in parts.items()
        },
    }


def is_offensive(name: str) -> bool:
    """Whether what dialogues or prompts say is not to be shown: a set is known for it, or a file's rows say so.

    Args:
        name: as for `load`, or what else prompts are taken of.

    Raises:
        MetaftError: if a file cannot be read.
    """
    files = [Path(one).expanduser() for one in (name, *name.split("+")) if one not in SETS]
    tables = [file for file in files if reading.kind(file) in rows.KINDS and file.is_file()]
    return any(one in SETS and SETS[one].offensive for one in name.split("+")) or any(
        str(row.get(fields.OFFENSIVE)).lower() == "true" for file in tables for _, row in rows.read(file)
    )


def _divided(found: Sequence[Example], name: str | Path, seed: int) -> dict[str, list[Example]]:
    of = division.divided([one.prompt for one in found], seed, str(name))
    return {split: [one for one, own in zip(found, of, strict=True) if own == split] for split in SPLITS}


def _only(kind: type[T], found: Sequence[Example], name: str | Path) -> list[T]:
    if not all(isinstance(one, kind) for one in found):
        wanted, given = (next(word for word, own in KINDS.items() if own is one) for one in (kind, type(found[0])))
        known = [one.name for one in SETS.values() if one.kind == wanted]
        raise MetaftError(f"{name} holds {given}, not {wanted}; take {', '.join(known)}, or a file of your own")
    return cast(list[T], list(found))


def _together(name: str | Path, root: str | Path | None) -> tuple[list[Example], dict[str, int]]:
    """All examples of some sets, without repeats, and how many are left out for what."""
    read = {_named(one): _read(one, root) for one in _parts(name)}
    left_out: Counter[str] = Counter()
    kinds = {one: type(found.examples[0]) for one, found in read.items()}
    if len(set(kinds.values())) > 1:
        words = {own: kind for kind, own in KINDS.items()}
        told = ", ".join(f"{Path(one).name}: {words[kind]}" for one, kind in kinds.items())
        raise MetaftError(f"{name} mixes instructions and preferences ({told}); take one kind")
    for one, found in read.items():
        for why, count in found.left_out.items():
            left_out[why] += count
            say(f"{one}: {counted(count, 'pair')} left out that {why}")
    whole = [example for found in read.values() for example in found.examples]
    once = list(dict.fromkeys(whole))
    if repeats := len(whole) - len(once):
        left_out["repeat another"] = repeats
        say(f"{name}: {counted(repeats, 'example')} of {len(whole):,} left out that repeat another")
    _say_contradictions(once, name)
    return once, dict(left_out)


def _say_contradictions(found: Sequence[Example], name: str | Path) -> None:
    pairs = {(one.prompt, one.chosen, one.rejected) for one in found if isinstance(one, Preference)}
    both = sum((prompt, worse, better) in pairs for prompt, better, worse in pairs) // 2
    if both:
        say(f"{name}: of {counted(both, 'pair')} of answers either is chosen once; they are kept")


def _parts(asked: str | Path) -> list[DialogueSet | Path]:
    if isinstance(asked, Path):
        return [asked.expanduser()]
    whole = asked in SETS or os.path.exists(os.path.expanduser(asked))
    names = [asked] if whole else asked.split("+")
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise MetaftError(f"{twice!r} is asked for twice in {asked!r}")
    return [SETS[name] if name in SETS else _own(name) for name in names]


def _named(one: DialogueSet | Path) -> str:
    return one.name if isinstance(one, DialogueSet) else str(one)


def _own(name: str) -> Path:
    path = Path(name).expanduser()
    if not name or not os.path.exists(path):
        raise MetaftError(
            f"unknown set of dialogues {name!r}{nearest(name, SETS)}; or the path of a file {', '.join(rows.KINDS)}"
        )
    return path


def _read(one: DialogueSet | Path, root: str | Path | None) -> Found:
    path = one.path(root) if isinstance(one, DialogueSet) else one
    if path.is_dir():
        raise MetaftError(f"{path} is a folder; give a file {', '.join(rows.KINDS)}, or several joined by +")
    try:
        told = path.stat()
    except OSError as error:
        raise MetaftError(f"cannot read {path}: {error.strerror or error}") from None
    return _once(one, path, told.st_size, told.st_mtime_ns)


@lru_cache(maxsize=16)
def _once(one: DialogueSet | Path, path: Path, size: int, written: int) -> Found:
    found = one.read(path) if isinstance(one, DialogueSet) else fields.read(path)
    if not found.examples:
        raise MetaftError(f"{path} holds no dialogue; expected rows with {fields.EXPECTED}")
    return found
