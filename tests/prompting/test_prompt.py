"""Prompts scored by hand: whole texts, read in one pass each."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from metaft.errors import MetaftError
from metaft.prompting.pattern import Pattern
from metaft.prompting.prompt import Prompter, shortened
from tests.prompting.small import SENTENCES, network, probability, words

PATTERN = Pattern("Review: {text}\nSentiment: {answer}", "Sentiment: {answer}\nReview: {text}", "Reviews.")
SHOWN = [("A dog likes the house.", "good"), ("The king sells the car.", "bad")]
QUERIES = ["My neighbour has seen it.", "old", "A red answer."]
CLASSES = [("good", "not so bad"), ("bad",)]
TAIL = len(words().encode(["x"])[0]) - len(words().pieces(["x"])[0]) - 1
"""Special words at a text's end."""


def ids(text: str) -> list[int]:
    found = words().encode([text])[0].tolist()
    return found[: len(found) - TAIL]


def by_hand(before: str, after: str, mean: bool = False) -> float:
    whole = ids(before + after)
    branch = next(i for i, (a, b) in enumerate(zip([*ids(before), None], [*whole, -1], strict=False)) if a != b)
    found = probability(network(), whole, branch)
    return found / (len(whole) - branch) if mean else found


@pytest.mark.parametrize("score", ["sum", "mean"])
def test_direct_scores_are_those_of_whole_texts(score: str) -> None:
    head = "Reviews.\n\n" + "".join(f"Review: {text}\nSentiment: {word}\n\n" for text, word in SHOWN)
    each = lambda query, word: by_hand(f"{head}Review: {query}\nSentiment: ", word, score == "mean")
    prompter = Prompter(network(), words(), PATTERN, score=score)  # type: ignore[arg-type]
    found = prompter.scores(SHOWN, QUERIES, CLASSES)
    for i, query in enumerate(QUERIES):
        good = torch.tensor([each(query, word) for word in CLASSES[0]], dtype=torch.float64).logsumexp(0)
        assert float(found[i, 0]) == pytest.approx(float(good), abs=1e-9)
        assert float(found[i, 1]) == pytest.approx(each(query, "bad"), abs=1e-9)
    torch.testing.assert_close(found[:1], prompter.scores(SHOWN, QUERIES[:1], CLASSES), rtol=0, atol=1e-9)


def test_the_channel_scores_the_input_behind_the_answer() -> None:
    head = "Reviews.\n\n" + "".join(f"Sentiment: {word}\nReview: {text}\n\n" for text, word in SHOWN)
    found = Prompter(network(), words(), PATTERN, direction="channel").scores(SHOWN, QUERIES, [("good",), ("bad",)])
    for i, query in enumerate(QUERIES):
        for j, word in enumerate(("good", "bad")):
            expected = by_hand(f"{head}Sentiment: {word}\nReview: ", query)
            assert float(found[i, j]) == pytest.approx(expected, abs=1e-9)
    with pytest.raises(MetaftError, match="has no form for the channel"):
        Prompter(network(), words(), dataclasses.replace(PATTERN, channel=""), direction="channel")


def test_the_prior_is_behind_the_end_of_the_pattern() -> None:
    found = Prompter(network(), words(), PATTERN).prior([("good",), ("bad",)])
    assert found.tolist() == pytest.approx([by_hand("Sentiment: ", word) for word in ("good", "bad")], abs=1e-9)


def test_texts_are_cut_alike_and_the_pattern_never() -> None:
    long = "the house " * 60
    prompter = Prompter(network(), words(), PATTERN)
    shown, queries, cut = prompter.fitted([(long, "good"), ("short", "bad")], [long, "old"], CLASSES)
    assert cut == 2
    assert shown[0][0] == queries[0] == shortened(long, len(queries[0].split()))  # type: ignore[union-attr]
    assert shown[1] == ("short", "bad")
    assert queries[1] == "old"
    assert len(ids(prompter.head(shown) + PATTERN.written(queries[0], "not so bad"))) <= 200
    prompter.scores(shown, queries, CLASSES)
    longer = shortened(long, len(queries[0].split()) + 1)  # type: ignore[union-attr]
    assert len(ids(prompter.head([(longer, "good"), shown[1]]) + PATTERN.written(longer, "not so bad"))) > 200
    assert prompter.fitted(SHOWN, QUERIES, CLASSES) == (SHOWN, QUERIES, 0)
    with pytest.raises(MetaftError, match="a prompt of 40 demonstrations is longer than the 200 places"):
        prompter.fitted([("short", "good")] * 40, QUERIES, CLASSES)
    assert shortened(("a b c", "d"), 2) == ("a b", "d")


def test_what_fits_is_told_by_the_word_of_most_pieces() -> None:
    asked = [*((one,) for one in SENTENCES[:3]), ("wgkdwgkdwgkdwgkdwgkdwg",)]  # the shortest has the most pieces
    assert all(len(one[0]) > len(asked[-1][0]) for one in asked[:-1])
    prompter = Prompter(network(60), words(), Pattern("{text} {answer}"))
    for length in (35, 45, 70):
        shown, texts, _ = prompter.fitted([], [" ".join(["house"] * length)], asked)
        assert torch.isfinite(prompter.scores(shown, texts, asked)).all()
