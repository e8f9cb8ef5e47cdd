"""What a model makes of a prompt, held against whole texts that are read in one pass each."""

from __future__ import annotations

import math

import pytest

from metaft.errors import MetaftError
from metaft.prompting.completion import complete
from metaft.prompting.continuations import branches, numbers
from tests.prompting.small import network, probability, words

PROMPT = "A dog likes the"


def ids(text: str) -> list[int]:
    return words().encode([text])[0].tolist()[:-1]


def test_answers_have_the_probability_of_their_whole_text() -> None:
    answers = ["house", "old car", "red house", "!"]
    found = complete(network(), words(), f"{PROMPT}  ", answers, words=0)
    assert (found.text, found.pieces, found.prompt) == ("", 0, PROMPT)
    assert [one.text for one in found.answers] == answers
    before, weights = ids(PROMPT), []
    for one in found.answers:
        whole = ids(f"{PROMPT}{'' if one.text == '!' else ' '}{one.text}")
        assert whole[: len(before)] == before
        assert one.pieces == len(whole) - len(before)
        assert one.log_probability == pytest.approx(probability(network(), whole, len(before)), abs=1e-4)
        weights.append(math.exp(one.log_probability))
    assert [one.probability for one in found.answers] == pytest.approx([w / sum(weights) for w in weights], abs=1e-6)
    assert max(one.pieces for one in found.answers) > 1


@pytest.mark.parametrize(("prompt", "between"), [("A dog:", " "), ("A dog\n", ""), ("A (", ""), ("A dog", " ")])
def test_a_space_stands_where_words_would_touch(prompt: str, between: str) -> None:
    (found,) = complete(network(), words(), prompt, ["house"], words=0).answers
    whole = ids(f"{prompt}{between}house")
    assert found.log_probability == pytest.approx(probability(network(), whole, len(whole) - found.pieces), abs=1e-4)


def test_a_piece_that_spans_both_is_the_continuations() -> None:
    whole, before = ids("A dog likes the house"), ids("A dog likes the ho")
    ((context, behind),) = branches(words(), [("A dog likes the ho", ["use"])])
    assert [*context, *behind] == whole
    assert len(context) < len(before)
    assert list(context) == before[: len(context)]
    found = numbers(words(), ["A dog"])
    assert found == [tuple(ids("A dog"))]


def test_the_text_goes_on_from_the_prompt() -> None:
    found = complete(network(), words(), PROMPT, words=9)
    again = complete(network(), words(), PROMPT, words=4)
    assert found.text.startswith(again.text)
    assert found.ended or found.pieces == 9
    drawn = {complete(network(), words(), PROMPT, words=9, choices=50, seed=seed).text for seed in (0, 0, 1, 2)}
    assert len(drawn) == 3


def test_it_stops_at_a_special_word(monkeypatch: pytest.MonkeyPatch) -> None:
    end = int(words().specials[-1])
    own = ids(" car")[1:]
    monkeypatch.setattr("metaft.prompting.completion.next_words", lambda *rest: iter([*own, end, *own]))
    found = complete(network(), words(), PROMPT)
    assert (found.text, found.pieces, found.ended) == (words().decode(own), len(own), True)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"prompt": " \n "}, "the prompt is empty"),
        ({"answers": ["good", " good "]}, "answer 'good' is given twice"),
        ({"answers": ["good", " "]}, "answer 2 of 2 is empty"),
        ({"words": -1}, "words must be a whole number"),
        ({"choices": 0}, "choices must be a whole number"),
        ({"seed": -1}, "seed = -1"),
        ({"prompt": "the dog " * 200}, r"with 30 words behind it is longer than the 40 places"),
        ({"answers": ["dog " * 60], "words": 1}, r"with an answer of \d+ behind it is longer than the 40 places"),
    ],
)
def test_what_does_not_do_is_one_line(options: dict[str, object], said: str) -> None:
    with pytest.raises(MetaftError, match=said):
        complete(network(40), words(), **{"prompt": PROMPT, **options})  # type: ignore[arg-type]
