"""Accuracy on analogies as tables for the terminal and Markdown, as JSON, and a picture of a few pairs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from matplotlib.figure import Figure
from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text
from torch import Tensor

from metaft.data.texts.analogies import Questions, is_syntactic
from metaft.data.texts.word_vectors import WordVectors
from metaft.evaluation.analogies import METHODS, Share, answers, guessing, plane, share, unit
from metaft.evaluation.report import markdown_table
from metaft.evaluation.style import blank, series, tidy
from metaft.plain_json import finite

SEMANTIC, SYNTACTIC, ALL = TOTALS = "semantic", "syntactic", "all"
PANELS, LINES = 4, 8
"""Sections in a picture, and pairs of each."""
HEADS = ("section", "asked", "covered %", *METHODS, "guess %")
WIDE = 104
"""Characters of a terminal from which on numbers have decimals."""
NOTE = (
    "Accuracy in per cent of the covered questions, those all four words of which are known, with its 95% interval "
    "over pairs of words: a section's questions are made of few pairs, each with each. The answer is the word of the "
    "highest score among all that are known but a, b and c. nearest to c: heeds no analogy. guess: among the answers "
    "of the question's section."
)


@dataclass(frozen=True)
class Answered:
    """What some vectors answered.

    Args:
        vectors: with their words.
        rows: ``int64 [questions, 4]``, −1 for a word that is not known.
        right: method → ``bool [questions]``; False where a question is not covered.
    """

    vectors: WordVectors
    rows: Tensor
    right: Mapping[str, Tensor]

    @property
    def covered(self) -> Tensor:
        """``bool [questions]``: whether all four words are known."""
        return (self.rows >= 0).all(1)


@dataclass(frozen=True)
class Row:
    """A section, or several.

    Args:
        name: of it.
        questions: how many it has.
        covered: how many of these have four known words.
        shares: method → the share of the covered that was answered rightly.
        guess: expected accuracy of guessing any known word.
        guess_of_kind: of guessing any answer of the question's section.
    """

    name: str
    questions: int
    covered: int
    shares: Mapping[str, Share]
    guess: float
    guess_of_kind: float


def answer(vectors: WordVectors, questions: Questions) -> Answered:
    """Answer all questions by all methods.

    Args:
        vectors: with their words.
        questions: to answer.

    Returns:
        The answers.
    """
    rows, own = questions.rows(vectors), unit(vectors.vectors)
    covered = (rows >= 0).all(1)
    right = {method: torch.zeros(len(rows), dtype=torch.bool) for method in METHODS}
    for section in range(len(questions.sections)):
        some = questions.members(section) & covered
        for method, marks in right.items():
            marks[some] = answers(own, rows[some], method) == rows[some, 3]
    return Answered(vectors, rows, right)


def totals(questions: Questions) -> dict[str, Tensor]:
    """``bool [questions]`` of questions about meaning, about grammar, and of all; without totals of nothing."""
    syntactic = torch.tensor([is_syntactic(questions.sections[number]) for number in questions.section])
    if not syntactic.any() or syntactic.all():
        return {ALL: torch.ones_like(syntactic)}
    return {SEMANTIC: ~syntactic, SYNTACTIC: syntactic, ALL: torch.ones_like(syntactic)}


def row(name: str, answered: Answered, questions: Questions, members: Tensor, among: Tensor | None = None) -> Row:
    """A row of the table.

    Args:
        name: of the row.
        answered: the answers.
        questions: the questions.
        members: ``bool [questions]``: those of the row.
        among: ``bool [questions]``: of these alone, all of them covered; the covered by default.

    Returns:
        The row.
    """
    some = members & (answered.covered if among is None else among)
    pairs = questions.pairs()[some]
    kinds = torch.tensor(questions.section)[some]
    guess, of_kind = guessing(answered.rows[some], kinds, len(answered.vectors.words))
    shares = {method: share(right[some], pairs) for method, right in answered.right.items()}
    return Row(name, int(members.sum()), int(some.sum()), shares, guess, of_kind)


def rows(answered: Answered, questions: Questions) -> list[Row]:
    """A row for each section, then the totals."""
    found = [row(name, answered, questions, questions.members(n)) for n, name in enumerate(questions.sections)]
    return found + [row(name, answered, questions, members) for name, members in totals(questions).items()]


def screen(answered: Sequence[Answered], questions: Questions, width: int) -> Group:
    """All tables, for rich to print.

    Args:
        answered: of each source.
        questions: that were answered.
        width: of the terminal, in characters.

    Returns:
        A table a source, and one of all sources if there are several.
    """
    parts: list[Any] = []
    for title, heads, cells, bold in _tables(answered, questions, int(width >= WIDE)):
        table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
        table.add_column(heads[0], overflow="fold")
        for head, *column in zip(heads[1:], *(entries[1:] for entries in cells), strict=True):
            table.add_column(head, justify="right", width=max(map(len, [*head.split(), *column])))
        for entries in cells:
            table.add_row(*entries, style="bold" if entries[0] in bold else None)
        parts += [Text(title, style="bold"), table]
    return Group(*parts, Text(NOTE, style="dim"))


def markdown(
    answered: Sequence[Answered], questions: Questions, command: str, made: str, pictures: Mapping[str, str]
) -> str:
    """A page with all tables and pictures.

    Args:
        answered: of each source.
        questions: that were answered.
        command: what made it.
        made: seed and versions, on one line.
        pictures: source → file of its picture.

    Returns:
        Markdown.
    """
    page = ["# Word geometry: analogies a : b = c : ?", f"`{command}`"]
    for title, heads, cells, bold in _tables(answered, questions):
        marked = [[f"**{cell}**" if entries[0] in bold else cell for cell in entries] for entries in cells]
        page += [f"## {title}", markdown_table(heads, marked).rstrip()]
    page += [
        f"![{name}: a few pairs, in the plane in which their words vary most]({file})"
        for name, file in pictures.items()
    ]
    return "\n\n".join([*page, NOTE, made]) + "\n"


def results(answered: Sequence[Answered], questions: Questions) -> dict[str, dict[str, Any]]:
    """The tables as plain JSON values, by source."""
    shared = {one.vectors.name: _shared(one, answered, questions) for one in answered if len(answered) > 1}
    return {
        one.vectors.name: finite(
            {
                "words": len(one.vectors.words),
                "in_lower_case": one.vectors.in_lower_case,
                **one.vectors.facts,
                "sections": {found.name: asdict(found) for found in rows(one, questions)},
                "on_shared_questions": {found.name: asdict(found) for found in shared.get(one.vectors.name, ())},
            }
        )
        for one in answered
    }


def picture(vectors: WordVectors, questions: Questions, sections: Sequence[str] = ()) -> Figure | None:
    """A few pairs of some sections, each section in the plane in which its words vary most.

    Args:
        vectors: with their words.
        questions: whose pairs to draw.
        sections: of which; by default two about meaning and two about grammar, the first that have two known pairs and
            show none again.

    Returns:
        The figure; None if no section has two.
    """
    known = {name: _known_pairs(vectors, questions, number) for number, name in enumerate(questions.sections)}
    fit = [name for name in questions.sections if len(known[name]) > 1 and (not sections or name in sections)]
    if not sections:
        fresh = [name for n, name in enumerate(fit) if not any({*known[name]} & {*known[other]} for other in fit[:n])]
        kinds = ([name for name in fresh if is_syntactic(name) is kind] for kind in (False, True))
        fit = [name for names in kinds for name in names[: PANELS // 2]]
    if not fit:
        return None
    columns = min(2, len(fit))
    figure = blank(5 * columns, 4.2 * math.ceil(len(fit) / columns))
    for number, name in enumerate(fit):
        axes = figure.add_subplot(math.ceil(len(fit) / columns), columns, number + 1)
        pairs = known[name][:LINES]
        ends = plane(unit(vectors.vectors)[torch.tensor(pairs).flatten()]).reshape(-1, 2, 2)
        for line, ((first, second), pair) in enumerate(zip(ends.tolist(), pairs, strict=True)):
            colour = series(line)["color"]
            axes.plot(*zip(first, second, strict=True), color=colour, linewidth=1, marker="o", markersize=3)
            for place, word in zip((first, second), pair, strict=True):
                axes.annotate(vectors.words[word], place, (3, 3), textcoords="offset points", fontsize=8, color=colour)
        tidy(axes, "first component", "second component", name)
        axes.margins(0.15)
    figure.suptitle(vectors.name, fontsize=10)
    return figure


def _known_pairs(vectors: WordVectors, questions: Questions, section: int) -> list[tuple[int, int]]:
    members = questions.members(section)
    halves = questions.rows(vectors)[members].reshape(-1, 2).tolist()
    return list(dict.fromkeys((first, second) for first, second in halves if min(first, second) >= 0))


def _tables(
    answered: Sequence[Answered], questions: Questions, digits: int = 1
) -> list[tuple[str, Sequence[str], list[list[str]], Sequence[str]]]:
    """Title, heads, cells, and the first cells of rows to stress."""
    found: list[tuple[str, Sequence[str], list[list[str]], Sequence[str]]] = []
    for one in answered:
        entries = rows(one, questions)
        title = f"{_about(one.vectors)}; a guess among all words is right in {100 * entries[-1].guess:.2g}%"
        found.append((title, HEADS, [[entry.name, *_cells(entry, digits)] for entry in entries], TOTALS))
    if len(answered) > 1:
        cells = [
            [f"{one.vectors.name}, {entry.name}", *_cells(entry, digits)]
            for one in answered
            for entry in _shared(one, answered, questions)
        ]
        found.append(("On the questions that every source covers", ("source", *HEADS[1:]), cells, ()))
    return found


def _about(vectors: WordVectors) -> str:
    corpus = f" on {vectors.facts['corpus']}" if "corpus" in vectors.facts else ""
    return f"{vectors.name}{corpus}: {len(vectors.words):,} words, {vectors.vectors.shape[1]} numbers each"


def _shared(one: Answered, answered: Sequence[Answered], questions: Questions) -> list[Row]:
    among = torch.stack([other.covered for other in answered]).all(0)
    return [row(name, one, questions, members, among) for name, members in totals(questions).items()]


def _cells(entry: Row, digits: int) -> list[str]:
    covered = f"{100 * entry.covered / entry.questions:.1f}"
    if covered == "0.0" and entry.covered:
        covered = "< 0.1"
    shares = [_share(found, digits) for found in entry.shares.values()]
    return [f"{entry.questions:,}", covered, *shares, _percent(entry.guess_of_kind)]


def _share(found: Share, digits: int) -> str:
    if not found.count:
        return "–"
    text = f"{100 * found.mean:.{digits}f}"
    return text if math.isnan(found.low) else f"{text} ({100 * found.low:.{digits}f}–{100 * found.high:.{digits}f})"


def _percent(value: float) -> str:
    return "–" if math.isnan(value) else f"{100 * value:.1f}"
