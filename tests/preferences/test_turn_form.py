"""Whether answers keep to the form of a turn, counted by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from metaft.data.texts.tokenizer import trained
from metaft.language.chat import each_numbers, template
from metaft.language.chat_templates import SHIPPED
from metaft.preferences.policy import Policy
from metaft.preferences.turn_form import WORDS, TurnForm, marks_of
from tests.preferences.small import model
from tests.prompting.small import words

MARKS = {
    "chatml": ("<|im_start|>user", "<|im_start|>assistant"),
    "alpaca": ("### Instruction:", "### Response:"),
    "plain": ("Question:", "Answer:"),
    "none": (),
    "text": (),
}


@pytest.mark.parametrize("name", SHIPPED)
def test_marks_are_those_of_the_template(name: str) -> None:
    own = words()
    chat = template(name, "stories260k", own)
    assert marks_of(chat, [own.words[own.bounds()[1]], "<|im_end|>"]) == MARKS[name]


def test_each_answer_is_told_by_hand() -> None:
    own = trained(["Question: Answer: the house is red. Who is it? " * 3], 400, "bpe")
    end = own.bounds()[1]
    form = TurnForm(own, frozenset({end}), ("Question:", "Answer:"))
    said = {
        "The house.": (True, False, False),
        "The house": (False, False, False),  # does not end
        "": (True, True, False),
        "Red. Question: Who is it?": (True, False, True),
    }
    texts = [(*each_numbers([text], own)[0], *((end,) if ended else ())) for text, (ended, *_) in said.items()]
    found = form.kept(texts)
    for place, name in enumerate(("ended", "empty", "turn")):
        assert found[name].tolist() == [told[place] for told in said.values()]
    assert found["in form"].tolist() == [True, False, False, False]
    assert found["words"].tolist() == [len(text) - told[0] for text, told in zip(texts, said.values(), strict=True)]


def test_a_mark_that_is_a_special_word_is_seen_though_it_is_no_text() -> None:
    own, mark = words(), 7
    form = TurnForm(own, frozenset({9}), (own.words[mark],))
    assert form.kept([(5, *each_numbers([own.words[mark]], own)[0], 9)])["turn"].tolist() == [True]


def test_answers_are_the_likeliest_and_no_longer_than_there_is_room() -> None:
    made = model()
    policy = Policy(made)
    never = TurnForm(words(), frozenset({10**6}), ())
    found = never.of(policy, policy.params, [(5, 6, 7), (8, 9)])
    assert found["words"].tolist() == [WORDS, WORDS]
    assert not found["ended"].any()
    always = TurnForm(words(), frozenset({_greedy(made, (5, 6, 7))}), ())
    told = always.of(policy, policy.params, [(5, 6, 7)])
    assert (told["ended"].tolist(), told["empty"].tolist(), told["in form"].tolist()) == ([True], [True], [False])


def _greedy(made: torch.nn.Module, prompt: tuple[int, ...]) -> int:
    ids: Tensor = torch.tensor([prompt])
    scores = made.word_scores(made.last_states(ids))[0, -1]  # type: ignore[operator]
    scores[0] = -torch.inf
    return int(scores[: words().vocabulary].argmax())
