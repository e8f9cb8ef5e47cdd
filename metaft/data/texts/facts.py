"""Facts: a subject, a relation, an object, and texts that say so; capitals, and LAMA's of Wikidata (T-REx)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from metaft.data.texts import reading
from metaft.errors import MetaftError, nearest

CAPITALS = "capitals"
CAPITALS_FILE = "factbook/capitals.tsv"
FACTS, PATTERNS, TEMPLATES = TREX = tuple(
    f"trex/{name}" for name in ("facts.jsonl.gz", "patterns.jsonl", "relations.jsonl")
)
OF_CAPITALS = (
    "The capital of {text} is {answer}",
    "The capital city of {text} is {answer}",
    "{text}'s capital is {answer}",
    "{text}, whose capital is {answer}",
    "{text}, which has the capital {answer}",
    "The seat of the government of {text} is {answer}",
    "Question: What is the capital of {text}?\nAnswer: {answer}",
    "Country: {text}\nCapital: {answer}",
)
SUBJECT, OBJECT = "[X]", "[Y]"


@dataclass(frozen=True)
class Relation:
    """The facts of one relation.

    Args:
        name: as it is asked for.
        label: what it means, in words.
        facts: subject and object; a subject stands once.
        templates: texts of patterns that end with the object, ``{answer}``; the first is the usual one.
    """

    name: str
    label: str
    facts: tuple[tuple[str, str], ...] = field(repr=False)
    templates: tuple[str, ...]

    @property
    def objects(self) -> tuple[str, ...]:
        """All different ones, in the order of the facts."""
        return tuple(dict.fromkeys(one for _, one in self.facts))


def load(name: str = CAPITALS, root: str | Path | None = None) -> Relation:
    """Read the facts of a relation.

    A subject that stands with several objects is left out, as none of them is the answer. A pattern that goes on behind
    its object is left out too, as nothing that goes on with a text can be asked by it; a full stop is taken off.

    Args:
        name: "capitals", of 222 countries and territories; or a relation of Wikidata, such as "P36".
        root: where files are looked for first.

    Returns:
        The relation.

    Raises:
        MetaftError: if it is unknown, a file is absent or damaged, or no facts or no patterns are left.
    """
    if name == CAPITALS:
        file = reading.require_place(CAPITALS, (CAPITALS_FILE,), root) / CAPITALS_FILE
        rows = [(row[0], row[1]) for row in reading.tab_rows(file, 3, header=True)]
        return _checked(Relation(name, "capital", _alone(rows), OF_CAPITALS), file)
    base = reading.require_place("T-REx", TREX, root)
    told: dict[str, tuple[str, str]] = {}
    for row in _rows(base / TEMPLATES, ("relation", "template", "label")):
        told[row[0]] = row[1], row[2]
    if name not in told:
        raise MetaftError(
            f"unknown relation {name!r}{nearest(name, (CAPITALS, *told))}; known: {CAPITALS}, {', '.join(told)}"
        )
    facts = [row[1:] for row in _rows(base / FACTS, ("relation", "subject", "object")) if row[0] == name]
    patterns = [told[name][0], *(row[1] for row in _rows(base / PATTERNS, ("relation", "pattern")) if row[0] == name)]
    templates = dict.fromkeys(made for made in map(_template, patterns) if made)
    return _checked(Relation(name, told[name][1], _alone(facts), tuple(templates)), base / FACTS)


def _rows(file: Path, columns: Sequence[str]) -> list[tuple[str, ...]]:
    return [
        tuple(reading.text_in(row, column, file, number) for column in columns)
        for number, row in reading.json_lines(file)
    ]


def _alone(rows: Sequence[tuple[str, ...]]) -> tuple[tuple[str, str], ...]:
    objects: dict[str, set[str]] = {}
    for subject, one in rows:
        objects.setdefault(subject, set()).add(one)
    return tuple(
        (subject, one) for subject, one in dict.fromkeys((row[0], row[1]) for row in rows) if len(objects[subject]) == 1
    )


def _template(pattern: str) -> str | None:
    """``[X] was born in [Y] .`` as the text of a pattern; None if something stands behind the object."""
    plain = re.sub(r"\s+", " ", pattern).strip().rstrip(" .")
    if plain.count(SUBJECT) != 1 or plain.count(OBJECT) != 1 or not plain.endswith(f" {OBJECT}"):
        return None
    return plain.replace("{", "{{").replace("}", "}}").replace(SUBJECT, "{text}").replace(OBJECT, "{answer}")


def _checked(found: Relation, file: Path) -> Relation:
    if len(found.objects) < 2:
        raise MetaftError(f"{file} holds no facts of relation {found.name} with two objects or more; take another")
    if not found.templates:
        raise MetaftError(f"relation {found.name} has no pattern that ends with its object; take another")
    return found
