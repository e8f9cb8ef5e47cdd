"""Patterns: what they write, and what is refused in one line."""

from __future__ import annotations

import pytest

from metaft.errors import MetaftError
from metaft.prompting.pattern import Pattern

REVIEW = Pattern("Review: {text}\nSentiment: {answer}", "Sentiment: {answer}\nReview: {text}")
PAIR = Pattern("{first}\nDoes {{this}} follow: {second}? {answer}")


def test_texts_are_written_as_they_are() -> None:
    text = "a {answer} in {braces}"
    assert REVIEW.asked(text) == f"Review: {text}\nSentiment: "
    assert REVIEW.written(text, "good") == f"Review: {text}\nSentiment: good"
    assert PAIR.takes_pairs
    assert PAIR.written(("A.", "B"), "no") == "A.\nDoes {this} follow: B? no"
    assert PAIR.asked(("A.", "B")) == "A.\nDoes {this} follow: B? "


@pytest.mark.parametrize(
    ("text", "channel", "said"),
    [
        ("Review: {text}", "", r"has no place for the answer; write \{answer\}"),
        ("Sentiment: {answer}", "", r"needs one place \{text\}, or \{first\} and \{second\}"),
        ("{first} {answer}", "", r"needs one place \{text\}, or \{first\} and \{second\}"),
        ("{text} {first} {second} {answer}", "", "needs one place"),
        ("{text} {answer} {answer}", "", r"has \{answer\} twice"),
        ("{text} {anwser}", "", r"has no place \{anwser\}; did you mean 'answer'"),
        ("{answer}: {text}", "", r"has to end with \{answer\}"),
        ("{text} {answer}.", "", r"has to end with \{answer\}"),
        ("{text {answer}", "", "a brace that is none is written twice"),
        ("{text} {}", "", r"has no place \{\}"),
        ("{text} {answer}", "{text} {answer}", r"channel of pattern .* has to end with \{text\} or \{second\}"),
    ],
)
def test_a_pattern_that_does_not_do_is_one_line(text: str, channel: str, said: str) -> None:
    with pytest.raises(MetaftError, match=said) as refused:
        Pattern(text, channel)
    assert "\n" not in str(refused.value)


def test_pairs_and_single_texts_are_told_apart() -> None:
    with pytest.raises(MetaftError, match=r"these inputs are pairs of texts; it needs \{first\} and \{second\}"):
        REVIEW.asked(("a", "b"))
    with pytest.raises(MetaftError, match=r"these inputs are single texts; it needs \{text\}"):
        PAIR.asked("a")
