"""Support sets, orders and queries that are drawn once; answers behind one prompt."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from metaft.errors import MetaftError
from metaft.prompting.calibration import Contextual, Domain
from metaft.prompting.grid import answered, cell_key, drawn
from metaft.prompting.pattern import Pattern
from metaft.prompting.prompt import Prompter
from tests.prompting.small import network, words

CLASSES = {what: [f"the {what} number {i}" for i in range(20)] for what in ("dog", "cow", "hen")}
WORDS = [(name,) for name in CLASSES]


def grid(**options: int) -> Any:
    return drawn(CLASSES, **{"sets": 3, "orders": 4, "shots": 2, "queries": 10, "seed": 0, **options})


def test_nothing_stands_in_two_places() -> None:
    found = grid()
    texts = [text for own in (*found.sets, found.queries) for text, _ in own]
    assert len(set(texts)) == len(texts) == 3 * 6 + 10
    for own in found.sets:
        assert [label for _, label in own] == [0, 0, 1, 1, 2, 2]
    assert sorted(found.labels) == [0] * 4 + [1] * 3 + [2] * 3
    for text, label in (*found.sets[0], *found.queries):
        assert list(CLASSES)[label] in text
    assert len(set(found.orders)) == 4
    assert all(sorted(order) == list(range(6)) for order in found.orders)
    shown = found.shown(1, 2, [("bark", "x"), ("moo",), ("cluck",)])
    assert [text for text, _ in shown] == [found.sets[1][place][0] for place in found.orders[2]]
    assert all((word == "bark") == ("dog" in text) for text, word in shown)


def test_more_leave_what_was_drawn() -> None:
    first, more = grid(), grid(sets=4, orders=6, queries=15)
    assert more.sets[:3] == first.sets
    assert more.orders[:4] == first.orders
    assert set(first.queries) <= set(more.queries)
    assert grid(seed=1).sets != first.sets
    assert grid() == first


def test_texts_of_several_classes_are_left_out() -> None:
    both = {name: ["everywhere", *texts, texts[0]] for name, texts in CLASSES.items()}
    found = drawn(both, 1, 1, 10, 30, 0)
    assert "everywhere" not in [text for own in (*found.sets, found.queries) for text, _ in own]
    with pytest.raises(MetaftError, match="need 21 different texts of each class, and 'dog' has 20"):
        drawn(both, 1, 1, 11, 30, 0)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"sets": 0}, "sets must be a whole number of at least 1"),
        ({"orders": 721}, "721 orders asked for, and 6 demonstrations have 720"),
        ({"queries": 2}, "queries must be a whole number of at least 3"),
        ({"sets": 10}, "10 sets of 2 shots and 4 queries need 24 different texts"),
        ({"seed": -1}, "seed = -1"),
    ],
)
def test_what_does_not_do_is_one_line(options: dict[str, int], said: str) -> None:
    with pytest.raises(MetaftError, match=said):
        grid(**options)


def test_answers_are_those_of_prompts_by_themselves() -> None:
    found, prompter = grid(), Prompter(network(2000), words(), Pattern("Text: {text}\nLabel: {answer}"))
    shown = found.shown(0, 1, WORDS)
    changes = {"contextual": Contextual("nothing|none"), "other": Contextual("The king sells."), "domain": Domain()}
    told = answered(prompter, shown, found.texts, WORDS, changes)
    plain = prompter.scores(shown, found.texts, WORDS)
    behind = [prompter.scores(shown, texts, WORDS).softmax(-1).mean(0).log()
              for texts in (["nothing", "none"], ["The king sells."])]  # fmt: skip
    expected = {"none": plain, "contextual": plain - behind[0], "other": plain - behind[1],
                "domain": plain - prompter.prior(WORDS)}  # fmt: skip
    assert {name: list(own) for name, own in told.of.items()} == {
        name: scores.argmax(-1).tolist() for name, scores in expected.items()
    }
    heard: list[Any] = []

    class Heard(Contextual):
        def __call__(self, scores: Any, behind: Any, prior: Any) -> Any:
            heard.append(behind)
            return scores

    answered(prompter, shown, found.texts, WORDS, {"a": Heard("nothing|none"), "b": Heard("The king sells.")})
    for behind, texts in zip(heard, (["nothing", "none"], ["The king sells."]), strict=True):
        torch.testing.assert_close(behind, prompter.scores(shown, texts, WORDS), rtol=0, atol=1e-5)
    assert len(set(map(tuple, told.of.values()))) > 1
    assert told.cut == 0
    keys = {cell_key(prompter, found.shown(0, order, WORDS), found.texts, WORDS, "w") for order in (0, 1, 1)}
    keys |= {cell_key(prompter, shown, found.texts[1:], WORDS, "w"), cell_key(prompter, shown, found.texts, WORDS, "v")}
    assert len(keys) == 4
