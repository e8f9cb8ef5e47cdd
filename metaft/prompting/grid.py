"""The same queries behind many prompts: support sets and orders that are drawn once, for all patterns."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from metaft.data.texts.labelled_texts import Text
from metaft.errors import MetaftError
from metaft.prompting.calibration import Calibration
from metaft.prompting.prompt import Demonstration, Prompter
from metaft.seeds import require_seed
from metaft.tasks.random import generator
from metaft.validate import require_count

NONE = "none"
"""What no calibration is called."""


@dataclass(frozen=True)
class Grid:
    """Support sets, orders of their demonstrations, and queries.

    An order is of places: the classes stand in the same order in all support sets. So orders and sets are crossed.

    Args:
        names: of the classes.
        sets: support sets, each of ``(text, class)``, class by class.
        orders: of the places in a support set.
        queries: ``(text, class)``, none of them in a support set.
    """

    names: tuple[str, ...]
    sets: tuple[tuple[tuple[Text, int], ...], ...] = field(repr=False)
    orders: tuple[tuple[int, ...], ...] = field(repr=False)
    queries: tuple[tuple[Text, int], ...] = field(repr=False)

    @property
    def labels(self) -> tuple[int, ...]:
        """Of the queries."""
        return tuple(label for _, label in self.queries)

    @cached_property
    def texts(self) -> tuple[Text, ...]:
        """Of the queries."""
        return tuple(text for text, _ in self.queries)

    def shown(self, number: int, order: int, words: Sequence[Sequence[str]]) -> list[Demonstration]:
        """A support set in an order.

        Args:
            number: of the set.
            order: number of the order.
            words: of each class; the first of them is shown.
        """
        own = self.sets[number]
        return [(own[place][0], words[own[place][1]][0]) for place in self.orders[order]]


def drawn(
    classes: Mapping[str, Sequence[Text]],
    sets: int,
    orders: int,
    shots: int,
    queries: int,
    seed: int,
    dataset: str = "",
) -> Grid:
    """Draw support sets that have no text in common, orders, and queries.

    More sets, orders or queries leave those that were drawn as they are.

    Args:
        classes: class → texts; one that stands in several classes is left out.
        sets: how many support sets.
        orders: how many different ones.
        shots: demonstrations of each class.
        queries: how many in all, as many of each class; one more of the first classes if it does not come out even.
        seed: of the draws.
        dataset: what the texts are called.

    Returns:
        The grid.

    Raises:
        MetaftError: if a count is too small, a class has too few texts, or there are fewer orders.
    """
    for what, count in (("sets", sets), ("orders", orders), ("shots", shots)):
        require_count(count, what, 1)
    require_count(queries, "queries", len(classes))
    require_seed(seed)
    places = shots * len(classes)
    if places < 20 and math.factorial(places) < orders:
        raise MetaftError(
            f"{orders} orders asked for, and {places} demonstrations have {math.factorial(places)}; ask for fewer, or "
            "for more shots"
        )
    owners: dict[Text, set[str]] = {}
    for name, texts in classes.items():
        for text in texts:
            owners.setdefault(text, set()).add(name)
    support: list[list[tuple[Text, int]]] = [[] for _ in range(sets)]
    asked: list[tuple[Text, int]] = []
    for label, (name, texts) in enumerate(classes.items()):
        own = [text for text in dict.fromkeys(texts) if len(owners[text]) == 1]
        count = queries // len(classes) + (label < queries % len(classes))
        if sets * shots + count > len(own):
            raise MetaftError(
                f"{sets} sets of {shots} shots and {count} queries need {sets * shots + count} different texts of each "
                f"class, and {name!r} has {len(own)}; ask for fewer"
            )
        mixed = [own[i] for i in generator(seed, f"prompts/{dataset}/{name}", 0).permutation(len(own))]
        asked += [(text, label) for text in mixed[:count]]
        for number, one in enumerate(support):
            end = len(mixed) - number * shots
            one += [(text, label) for text in mixed[end - shots : end]]
    found: dict[tuple[int, ...], None] = {}
    turn = 0
    while len(found) < orders:
        found.setdefault(tuple(generator(seed, f"orders/{dataset}", turn).permutation(places).tolist()))
        turn += 1
    return Grid(tuple(classes), tuple(map(tuple, support)), tuple(found), tuple(asked))


@dataclass(frozen=True)
class Answers:
    """What one prompt led to.

    Args:
        of: calibration → the class that each query was given.
        cut: how many texts were cut.
    """

    of: Mapping[str, tuple[int, ...]]
    cut: int


def answered(
    prompter: Prompter,
    shown: Sequence[Demonstration],
    queries: Sequence[Text],
    words: Sequence[Sequence[str]],
    calibrations: Mapping[str, Calibration],
) -> Answers:
    """Answer queries behind one prompt, calibrated in several ways and not at all; the queries are read once.

    Args:
        prompter: a model and a pattern.
        shown: the demonstrations, in order.
        queries: inputs.
        words: of each class.
        calibrations: by name.

    Returns:
        The answers, "none" the first.

    Raises:
        MetaftError: if a prompt is longer than the model has places.
    """
    fitted, texts, cut = prompter.fitted(shown, queries, words)
    spans, more = dict[str, slice](), list[Text]()
    for name, change in calibrations.items():
        inputs = [(text, text) if prompter.pattern.takes_pairs else text for text in change.asks()]
        spans[name] = slice(len(texts) + len(more), len(texts) + len(more) + len(inputs))
        more += inputs
    found = prompter.scores(fitted, [*texts, *more], words)
    scores, prior = found[: len(texts)], lambda: prompter.prior(words)
    of = {NONE: scores}
    of |= {name: change(scores, found[spans[name]], prior) for name, change in calibrations.items()}
    return Answers({name: tuple(one.argmax(-1).tolist()) for name, one in of.items()}, cut)


def cell_key(
    prompter: Prompter, shown: Sequence[Demonstration], queries: Sequence[Text], words: Sequence[Sequence[str]], of: str
) -> str:
    """A digest of all that answers hang on, but the calibration.

    Args:
        prompter: a model and a pattern.
        shown: the demonstrations, in order.
        queries: inputs.
        words: of each class.
        of: a digest of the model's weights.
    """
    pattern = prompter.pattern
    form = [pattern.text, pattern.channel, pattern.instruction, pattern.between, prompter.direction, prompter.score]
    held = json.dumps(
        [1, of, prompter.tokenizer.digest, form, list(shown), list(queries), [list(own) for own in words]]
    )
    return hashlib.sha256(held.encode()).hexdigest()
