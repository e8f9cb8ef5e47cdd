"""Simple rules by which one of two answers could be taken as the better one, without asking a judge."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from metaft.language.chat_model import ChatModel, fitted_pair
from metaft.preferences.feedback.judge import Pair

RULES = ("longer", "likelier", "likelier a word")
"""More words; more probable behind the prompt by the judge's own network; more probable a word."""


def rule_scores(chat: ChatModel, pairs: Sequence[Pair], length: int) -> dict[str, Tensor]:
    """What rules make of answers.

    Args:
        chat: the judge's network.
        pairs: prompts with two answers each.
        length: words of a prompt and its answer that are read.

    Returns:
        Each of `RULES`, ``float64 [pairs, 2]``: the higher, the better the rule finds an answer. Words are counted
        before anything is cut.
    """
    most = length if chat.places is None else min(length, chat.places)
    texts = [
        text
        for prompt, *answers in pairs
        for text in fitted_pair(chat.template, prompt, (answers[0], answers[1]), chat.tokenizer, most)[0]
    ]
    whole = chat.tokenizer.pieces([answer for _, *answers in pairs for answer in answers])[1].diff()
    read = torch.tensor([len(answer) for _, answer in texts])
    said = torch.tensor(chat.likelihoods(texts), dtype=torch.float64)
    found = (whole.double(), said, said / read)
    return {name: scores.view(-1, 2) for name, scores in zip(RULES, found, strict=True)}
