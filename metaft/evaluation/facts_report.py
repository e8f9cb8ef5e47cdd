"""How many facts a model tells behind each kind of prompt: tables for the terminal and Markdown, and JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from metaft.errors import printable
from metaft.evaluation.report import markdown_table
from metaft.evaluation.statistics import wilson
from metaft.plain_json import finite

HEADS = ("prompt", "right, %", "said freely, %", "seconds", "pattern")
NOTE = (
    "right: the object is the likeliest of all objects of the relation. said freely: a model that takes the likeliest "
    "word each time goes on with it. All prompts are asked of the same test subjects; behind a number stands its 95% "
    "interval over these (Wilson's). Trigger and soft prompt are trained on the training subjects and chosen on the "
    "validation subjects; seconds hold that. Demonstrations are training subjects."
)


@dataclass(frozen=True, eq=False)
class Told:
    """What a model answered behind one kind of prompt.

    Args:
        prompt: what it is called, such as "zero-shot".
        pattern: its text.
        answers: numbers of the likeliest objects, a test subject each.
        right: whether it is the right one.
        freely: whether the model goes on with the right one by itself.
        seconds: that it took, with training.
        facts: more of how it was made.
    """

    prompt: str
    pattern: str
    answers: tuple[int, ...]
    right: NDArray[np.bool_]
    freely: NDArray[np.bool_]
    seconds: float
    facts: dict[str, Any] = field(default_factory=dict)


def consistency(told: Sequence[Told]) -> float:
    """The share of equal answers among pairs of patterns, right or not (Elazar et al. 2021, §3.1).

    Args:
        told: answers to the same subjects behind two patterns or more.

    Returns:
        In per cent; NaN for fewer than two patterns.
    """
    answers = np.array([one.answers for one in told])
    pairs = list(combinations(answers, 2))
    return 100 * float(np.mean([first == second for first, second in pairs])) if pairs else float("nan")


def results(told: Sequence[Told], objects: Sequence[str]) -> dict[str, Any]:
    """As plain JSON values, by prompt.

    Args:
        told: what to show.
        objects: of the relation.
    """
    found = {}
    for one in told:
        right, freely = _score(one.right), _score(one.freely)
        found[one.prompt] = finite(
            {
                "pattern": one.pattern, "right": right[0], "right_ci95": right[1:], "said_freely": freely[0],
                "said_freely_ci95": freely[1:], "seconds": one.seconds,
                "answers": [objects[number] for number in one.answers], **one.facts,
            }
        )  # fmt: skip
    return found


def screen(told: Sequence[Told], summary: Sequence[str]) -> Group:
    """The table, for rich to print, with lines below it."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for number, head in enumerate(HEADS):
        table.add_column(head, justify="left" if number in (0, len(HEADS) - 1) else "right", overflow="fold")
    for row in _rows(told):
        table.add_row(*map(Text, row))
    return Group(table, *(Text(line, style="dim") for line in summary))


def markdown(told: Sequence[Told], title: str, command: str, summary: Sequence[str], made: str) -> str:
    """A page.

    Args:
        told: what to show.
        title: of the page.
        command: what made it.
        summary: lines below the table.
        made: seed and versions, on one line.
    """
    rows = [[*row[:-1], f"`{row[-1]}`"] for row in _rows(told)]
    return (
        "\n\n".join([f"# {title}", f"`{command}`", markdown_table(HEADS, rows).rstrip(), *summary, NOTE, made]) + "\n"
    )


def _rows(told: Sequence[Told]) -> list[list[str]]:
    return [
        [
            one.prompt,
            _shown(one.right),
            _shown(one.freely),
            f"{one.seconds:.0f}",
            printable(one.pattern.replace("\n", "\\n")),
        ]
        for one in told
    ]


def _score(marks: NDArray[np.bool_]) -> tuple[float, float, float]:
    """The share, and the ends of its interval, in per cent."""
    mean = float(marks.mean())
    low, high = wilson(mean, len(marks))
    return 100 * mean, 100 * low, 100 * high


def _shown(marks: NDArray[np.bool_]) -> str:
    mean, low, high = _score(marks)
    return f"{mean:.1f} ({low:.1f}–{high:.1f})"
