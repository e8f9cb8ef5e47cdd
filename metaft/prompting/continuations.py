"""Texts and what may stand behind them, as numbers: where one ends and the other begins is the tokenizer's."""

from __future__ import annotations

from collections.abc import Sequence

from metaft.data.texts.tokenizer import Tokenizer
from metaft.prompting.log_probability import Ids, common_length


def numbers(tokenizer: Tokenizer, texts: Sequence[str]) -> list[Ids]:
    """Texts as numbers, without the special words that end a text.

    Args:
        tokenizer: of their words.
        texts: some texts.
    """
    ids, offsets = tokenizer.encode(texts)
    special = set(tokenizer.specials.tolist())
    found = []
    for part in ids.tensor_split(offsets[1:-1]):
        row = part.tolist()
        while row and row[-1] in special:
            row.pop()
        found.append(tuple(row))
    return found


def branches(tokenizer: Tokenizer, asked: Sequence[tuple[str, Sequence[str]]]) -> list[tuple[Ids, Ids]]:
    """Where continuations leave the text that they stand behind.

    Text and continuation are read as one. Where a piece spans both, the continuation begins with it.

    Args:
        tokenizer: of the words.
        asked: texts, each with its continuations.

    Returns:
        What all continuations of a text have before them, and a continuation, for each in turn.
    """
    prompts = numbers(tokenizer, [text for text, _ in asked])
    whole = iter(numbers(tokenizer, [text + words for text, continuations in asked for words in continuations]))
    found = []
    for prompt, (_, continuations) in zip(prompts, asked, strict=True):
        own = [next(whole) for _ in continuations]
        place = common_length([prompt, *own])
        found += [(ids[:place], ids[place:]) for ids in own]
    return found
