"""Principles that a model judges and revises answers by: those that come with metaft, one file each, and one's own."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from metaft.errors import MetaftError, first_line, nearest

FOLDER, ENDING = Path(__file__).parent / "principles", ".toml"
OWN = "your own"
"""What a principle is called that was given as a text."""


@dataclass(frozen=True)
class Principle:
    """What makes an answer good, and how a model is asked about it.

    Args:
        name: what it is called.
        principle: a sentence that says what a good answer is.
        question: put to the judge of two answers.
        critique: put to a model about its last answer.
        revision: put to it then, for the answer written anew.
    """

    name: str
    principle: str
    question: str
    critique: str
    revision: str

    @classmethod
    def of(cls, name: str, principle: str, question: str = "", critique: str = "", revision: str = "") -> Principle:
        """A principle; what is left empty is asked in general words.

        Args:
            name: as of the class, and so are the others.
            principle: likewise.
            question: likewise.
            critique: likewise.
            revision: likewise.
        """
        return cls(
            name,
            principle,
            question or "Which answer is better by this principle?",
            critique or f'Look at your last answer. Where does it not keep to this principle: "{principle}"',
            revision or f'Write your last answer again so that it keeps to this: "{principle}" Write nothing else.',
        )


KEYS = tuple(entry.name for entry in fields(Principle))[1:]


def names() -> tuple[str, ...]:
    """Those that come with metaft."""
    return tuple(sorted(file.stem for file in FOLDER.glob(f"*{ENDING}")))


def find_principle(asked: str) -> Principle:
    """A principle as it is asked for.

    Args:
        asked: the name of one that comes with metaft, the path of a TOML file, or the principle itself, a sentence.

    Returns:
        The principle.

    Raises:
        MetaftError: if there is none of that name, or the file does not do.
    """
    text = asked.strip()
    if text in names():
        return read(FOLDER / f"{text}{ENDING}")
    if text.endswith(ENDING):
        return read(text)
    if len(text.split()) > 1:
        return Principle.of(OWN, text)
    raise MetaftError(
        f"unknown principle {asked!r}{nearest(text, names())}; or a file {ENDING}, or a sentence of your own"
    )


def read(file: str | Path) -> Principle:
    """A principle from a file.

    Args:
        file: TOML with ``principle``, and perhaps ``question``, ``critique`` and ``revision``; its name is the file's.

    Returns:
        The principle.

    Raises:
        MetaftError: if it cannot be read, or a text is missing, unknown or empty.
    """
    try:
        held: dict[str, Any] = tomllib.loads(Path(file).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise MetaftError(f"cannot read principle {file}: {getattr(error, 'strerror', None) or error}") from None
    except tomllib.TOMLDecodeError as error:
        raise MetaftError(f"{file} is not valid TOML: {first_line(error)}") from None
    for key, value in held.items():
        if key not in KEYS:
            raise MetaftError(f"{file} has an unknown {key!r}{nearest(key, KEYS)}; known: {', '.join(KEYS)}")
        if not isinstance(value, str) or not value.strip():
            raise MetaftError(f"{file}: {key} should be a text, and not empty")
    if "principle" not in held:
        raise MetaftError(f'{file} has no principle; write principle = "A good answer …"')
    return Principle.of(Path(file).stem, **{key: value.strip() for key, value in held.items()})
