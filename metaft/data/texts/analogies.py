"""Questions a : b = c : d (Mikolov et al. 2013), from ``questions-words.txt`` or a file of that form."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import torch
from torch import Tensor

from metaft.data.text import decoded, lines
from metaft.data.texts import reading
from metaft.data.texts.word_vectors import WordVectors
from metaft.errors import MetaftError

FILE = "analogies/questions-words.txt"
SECTION = ":"
SYNTACTIC = "gram"
"""What the names of sections about grammar begin with; all others are about meaning."""
WORDS = 4


@dataclass(frozen=True)
class Questions:
    """Questions in sections.

    Args:
        words: the four words of each question, as the file has them.
        section: the number of each question's section.
        sections: the names, in the order of the file.
        file: what they were read from.
    """

    words: tuple[tuple[str, ...], ...]
    section: tuple[int, ...]
    sections: tuple[str, ...]
    file: str

    def rows(self, vectors: WordVectors) -> Tensor:
        """The rows of the words among some vectors.

        Args:
            vectors: with their words.

        Returns:
            ``int64 [questions, 4]``; −1 for a word that is not known.
        """
        return torch.tensor(vectors.find(list(chain.from_iterable(self.words)))).reshape(-1, WORDS)

    def pairs(self) -> Tensor:
        """Which pairs of words questions are made of, counted from 0; a pair of several sections is one.

        Returns:
            ``int64 [questions, 2]``: the pair that is shown and the pair that is asked for.
        """
        numbers: dict[tuple[str, ...], int] = {}
        found = [[numbers.setdefault(pair, len(numbers)) for pair in (four[:2], four[2:])] for four in self.words]
        return torch.tensor(found).reshape(-1, 2)

    def members(self, section: int) -> Tensor:
        """``bool [questions]``: which questions a section has."""
        return torch.tensor(self.section) == section


def is_syntactic(section: str) -> bool:
    """Whether a section is about grammar, by its name."""
    return section.startswith(SYNTACTIC)


def load(path: str | Path | None = None, root: str | Path | None = None) -> Questions:
    """Read questions.

    A line ``: name`` begins a section; each other line is a question of four words. Empty lines are passed over.

    Args:
        path: of the file, packed as ``.gz`` or not; None for ``questions-words.txt`` under the data root.
        root: where that is looked for first.

    Returns:
        The questions; those before the first section are in one that is called as the file.

    Raises:
        MetaftError: if the file is absent, a line is no question, or there is none.
    """
    file = (
        reading.require_place("questions-words.txt", (FILE,), root) / FILE if path is None else Path(path).expanduser()
    )
    sections: dict[str, int] = {}
    words: list[tuple[str, ...]] = []
    whose: list[int] = []
    name = reading.stem(file)
    text = decoded(reading.content(file), file, "four words a line")
    for number, line in enumerate(lines(text), start=1):
        if line.startswith(SECTION):
            name = line.removeprefix(SECTION).strip()
            if not name:
                raise MetaftError(f"{file}, line {number}: a section has no name; expected ': name'")
        elif line:
            four = tuple(line.split())
            if len(four) != WORDS:
                raise MetaftError(f"{file}, line {number}: expected four words a : b = c : d, not {len(four)}")
            words.append(four)
            whose.append(sections.setdefault(name, len(sections)))
    if not words:
        raise MetaftError(f"{file} holds no question; expected four words a line, below lines such as ': family'")
    return Questions(tuple(words), tuple(whose), tuple(sections), str(file))
