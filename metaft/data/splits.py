"""Which Omniglot characters are for meta-training, validation and test, under each published scheme."""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass
from importlib import resources

from metaft.errors import MetaftError, nearest

SPLITS = ("train", "val", "test")
ALL = "all"
"""All classes together, for learners that train nothing."""
PARTS = ("background", "evaluation")
SCHEMES = {
    "alphabets": "background alphabets, 5 of them for validation / evaluation alphabets (Lake et al. 2015)",
    "vinyals": "1028 / 172 / 423 characters, rotations included (Vinyals et al. 2016)",
    "torchmeta": "1028 / 172 / 423 characters (torchmeta, Deleu et al. 2019)",
    "maml": "1100 / 100 / 423 characters at random over all alphabets (as Finn et al. 2017)",
}
MAML_SEED = 0
MAML_COUNTS = {"train": 1100, "val": 100, "test": 423}


@dataclass(frozen=True)
class Alphabet:
    """One of Omniglot's 50 alphabets.

    Args:
        part: ``"background"`` or ``"evaluation"``.
        characters: how many it has.
        first: the number of its first character in the names of the files, the others following on.
        digest: the first 16 hexadecimal digits of the sha256 over its packed drawings.
    """

    part: str
    characters: int
    first: int
    digest: str


@dataclass(frozen=True)
class Division:
    """How a data set's classes are divided.

    Args:
        classes: split → how many it has.
        divided: by what, in words.
        by_seed: whether a seed divided them.
        by_hand: how they can be divided by hand, for messages.
        otherwise: what else can be done, likewise; empty where there is nothing.
    """

    classes: dict[str, int]
    divided: str
    by_seed: bool
    by_hand: str = "divide them by hand in train.txt, val.txt and test.txt"
    otherwise: str = ""


@functools.cache
def alphabets() -> dict[str, Alphabet]:
    """Omniglot's alphabets by name: background first, in alphabetical order within each part."""
    rows = [line.split() for line in _lines("omniglot")]
    return {name: Alphabet(part, int(n), int(first), digest) for part, name, n, first, digest in rows}


@functools.cache
def characters(part: str | None = None) -> tuple[str, ...]:
    """The names of Omniglot's characters in stored order.

    Args:
        part: ``"background"`` (964), ``"evaluation"`` (659) or ``None`` for both.

    Returns:
        Names such as ``"Angelic/character01"``.
    """
    held = {name: a for name, a in alphabets().items() if part in (None, a.part)}
    return tuple(_character(name, i) for name, a in held.items() for i in range(1, a.characters + 1))


@functools.cache
def classes(scheme: str, split: str) -> tuple[str, ...]:
    """The characters of one split, in stored order; rotations of a character belong to its split.

    In ``"vinyals"`` and ``"torchmeta"`` Gurmukhi has characters in train and in test, as published.

    Args:
        scheme: one of :data:`SCHEMES`.
        split: ``"train"``, ``"val"`` or ``"test"``.

    Returns:
        Names such as ``"Angelic/character01"``.

    Raises:
        MetaftError: if either is unknown.
    """
    if scheme not in SCHEMES:
        raise MetaftError(f"unknown Omniglot scheme {scheme!r}{nearest(str(scheme), SCHEMES)}")
    check_split(split)
    return tuple(name for name in characters() if _assignment(scheme)[name] == split)


def check_split(split: str, or_all: bool = False) -> None:
    """Refuse anything but ``train``, ``val`` and ``test``.

    Args:
        split: what was given.
        or_all: whether ``all`` will do too.

    Raises:
        MetaftError: if it is none of them.
    """
    known = (*SPLITS, ALL) if or_all else SPLITS
    if split not in known:
        raise MetaftError(f"unknown split {split!r}{nearest(str(split), known)}")


@functools.cache
def _assignment(scheme: str) -> dict[str, str]:
    if scheme == "maml":
        return _shuffled()
    listed = _listed("torchmeta" if scheme == "alphabets" else scheme)
    if scheme != "alphabets":
        return listed
    # Validation alphabets are the five that both published lists hold out of background.
    held_out = {name: "val" if listed[name] == "val" else "train" for name in characters("background")}
    return held_out | dict.fromkeys(characters("evaluation"), "test")


def _shuffled() -> dict[str, str]:
    # Ordered by a hash of seed and name: the same on every platform and library version.
    order = sorted(characters(), key=lambda name: hashlib.sha256(f"{MAML_SEED}:{name}".encode()).digest())
    splits = [split for split, count in MAML_COUNTS.items() for _ in range(count)]
    return dict(zip(order, splits, strict=True))


def _listed(scheme: str) -> dict[str, str]:
    """Read ``split alphabet first-last`` lines."""
    assigned: dict[str, str] = {}
    for line in _lines(f"omniglot_{scheme}"):
        split, alphabet, span = line.split()
        first, last = map(int, span.split("-"))
        assigned |= {_character(alphabet, i): split for i in range(first, last + 1)}
    return assigned


def _lines(name: str) -> list[str]:
    text = resources.files("metaft.data").joinpath("lists", f"{name}.txt").read_text(encoding="utf-8")
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def _character(alphabet: str, number: int) -> str:
    return f"{alphabet}/character{number:02d}"
