"""What a choice of demonstrations is: from a support set to the examples that a query is shown behind."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

import numpy as np
from torch import Tensor

from metaft.data.texts.labelled_texts import Text
from metaft.data.texts.tokenizer import Tokenizer
from metaft.errors import MetaftError

Places = tuple[int, ...]
"""Of examples among the candidates, in the order in which they are shown."""
Chooser = Callable[[Text], Places]
"""From a query to its demonstrations."""


@dataclass(frozen=True)
class Candidates:
    """What a choice may look at: the support set of a task, and never its other queries.

    Args:
        texts: inputs, in an order that does not hang on the support set's.
        labels: of them.
        model: that is going to answer.
        tokenizer: of its words.
        ask: answers examples behind others, as queries are answered; takes the places of the demonstrations and of
            the examples, and returns log-probabilities of the classes, ``float64 [examples, ways]``.
        draw: random numbers that hang on the learner's seed and on the support set alone.
    """

    texts: tuple[Text, ...]
    labels: tuple[int, ...]
    model: Any = field(repr=False)
    tokenizer: Tokenizer = field(repr=False)
    ask: Callable[[Sequence[int], Sequence[int]], Tensor] = field(repr=False)
    draw: np.random.Generator = field(repr=False)

    def of_classes(self, places: Sequence[int]) -> list[list[int]]:
        """Places apart, a class each.

        Args:
            places: of some examples, in order.
        """
        return [[i for i in places if self.labels[i] == label] for label in sorted(set(self.labels))]

    def require(self, count: int, per_class: bool, whose: str) -> None:
        """Refuse to choose more than there is.

        Args:
            count: of examples.
            per_class: whether of each class.
            whose: the choice, for the message.

        Raises:
            MetaftError: saying how many there are.
        """
        held = [len(own) for own in self.of_classes(range(len(self.texts)))] if per_class else [len(self.texts)]
        if count > min(held):
            what = "a class of this task" if per_class else "this task"
            raise MetaftError(
                f"choice {whose}: count={count}, and {what} has {min(held)} support examples to choose from; take fewer"
            )


class Choice(Protocol):
    """A way to choose demonstrations, which hangs on the support set and on the query itself."""

    own: ClassVar[bool]
    """Whether each query has demonstrations of its own."""

    def chooser(self, candidates: Candidates) -> Chooser:
        """Look at a task's support set.

        Args:
            candidates: its examples.

        Returns:
            What tells the demonstrations of a query.

        Raises:
            MetaftError: if it has fewer examples than are to be chosen.
        """
        ...

    def weights(self) -> dict[str, Tensor]:
        """Of networks that it uses beside the one that answers, by name."""
        ...


def subsets(candidates: Candidates, tries: int, count: int, per_class: bool) -> list[Places]:
    """Some examples in some order, drawn several times; equal draws count once.

    Args:
        candidates: the examples.
        tries: how many draws.
        count: of examples.
        per_class: whether of each class.
    """
    found: dict[Places, None] = {}
    for _ in range(tries):
        places = candidates.draw.permutation(len(candidates.texts)).tolist()
        kept = [own[:count] for own in candidates.of_classes(places)] if per_class else [places[:count]]
        chosen = {place for own in kept for place in own}
        found.setdefault(tuple(place for place in places if place in chosen))
    return list(found)
