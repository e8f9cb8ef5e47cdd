"""The piece that stands for a class: behind the pattern, of the first word, and unlike those of other classes."""

from __future__ import annotations

import pytest
import torch

from metaft.data.texts.labelled_texts import LabelledTexts
from metaft.data.texts.tokenizer import tokenised
from metaft.errors import MetaftError
from metaft.prompting import AnswerWords, Pattern, TextLookup
from metaft.prompting.verbalizer import Verbalizer
from tests.prompting.small import words

CLASSES = {f"farm/{name}": [f"a {name} number {i}" for i in range(2)] for name in ("red_house", "old_car", "king", "o")}


def answers(verbalizer: Verbalizer, text: str = "Text: {text}\nLabel: {answer}") -> AnswerWords:
    pattern = Pattern(text)
    texts = LabelledTexts.of(
        {name: [pattern.prompt(one) for one in own] for name, own in CLASSES.items()}, dict.fromkeys(CLASSES, "farm")
    )
    return AnswerWords(TextLookup(tokenised(texts, words())), pattern, verbalizer, words())


def asked(one: AnswerWords, *classes: int) -> list[str]:
    """The pieces of a task of these classes, one text each."""
    x = one.texts.tokens.take(torch.tensor([2 * number for number in classes]))
    return [words().words[piece] for piece in one.pieces(x, torch.arange(len(classes)))]


def first_piece(text: str) -> str:
    return words().words[words().pieces([text])[0][0]]


def test_classes_are_called_by_their_words_or_their_names_with_the_space_before() -> None:
    own = answers({"king": ("seller of cars", "king"), "red_house": ("house",)})
    assert asked(own, 2, 1, 0) == [first_piece(" seller"), first_piece(" old"), first_piece(" house")]
    assert asked(own, 0, 2) == [first_piece(" house"), first_piece(" seller")]
    assert own.describe()["words"] == "king: seller of cars or king; red_house: house"
    close = answers({}, "{text} [{answer}")
    assert asked(close, 2) == [first_piece("king")]
    assert first_piece("king") != first_piece(" king")


def test_a_line_break_before_the_answer_belongs_to_the_pattern() -> None:
    assert asked(answers({}, "{text}\n{answer}"), 2, 0) == [first_piece("king"), first_piece("red")]


def test_words_that_begin_alike_are_refused_by_name() -> None:
    said = "classes 'old_car' and 'king': their words 'old car' and 'old king' both begin with the piece 'Ġold'"
    with pytest.raises(MetaftError, match=said):
        asked(answers({"king": ("old king",)}), 1, 0, 2)
    assert len(asked(answers({"king": ("old king",)}), 2, 0)) == 2  # another task, in which they are not together
    with pytest.raises(MetaftError, match="both have the word 'old car'"):
        asked(answers({"king": ("old car",)}), 1, 2)


def test_a_word_within_a_piece_of_the_pattern_is_refused() -> None:
    with pytest.raises(MetaftError, match="the word 'd car' does not begin with a piece of its own"):
        asked(answers({"king": ("d car",)}, "{text} ol{answer}"), 2, 0)
