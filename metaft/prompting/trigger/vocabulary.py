"""Which words of a vocabulary may stand in a trigger."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from metaft.data.texts.tokenizer import SPACES, Tokenizer
from metaft.errors import MetaftError, nearest

Kind = Literal["all", "printable", "words"]
KINDS = ("all", "printable", "words")


def allowed(tokenizer: Tokenizer, kind: Kind = "printable", without: Sequence[str] = ()) -> Tensor:
    """The numbers of those words.

    Special words, which stand for no text, are never among them.

    Args:
        tokenizer: of the words.
        kind: "all"; "printable", those whose text can be seen; or "words", those that begin a word, of letters alone.
        without: texts none of whose words may stand there, nor the first piece of one: answers, lest the trigger
            says them (Shin et al. 2020, §5).

    Returns:
        ``int64 [words]``, ascending.

    Raises:
        MetaftError: if the kind is unknown, or no word is left.
    """
    if kind not in KINDS:
        raise MetaftError(f"unknown kind {kind!r} of words{nearest(kind, KINDS)}; known: {', '.join(KINDS)}")
    marks = tuple(mark for mark in SPACES if mark and any(word.startswith(mark) for word in tokenizer.words))
    parts = [part for text in without for part in text.split()]
    banned = {part.casefold() for part in parts}
    ids, offsets = tokenizer.pieces([space + part for part in parts for space in ("", " ")])
    first = set(ids[offsets[:-1]].tolist()) if parts else set()
    found = []
    for number in tokenizer.ordinary.tolist():
        text = tokenizer.decode([number])
        if kind != "all" and not (text.strip() and text.isprintable() and "\ufffd" not in text):
            continue
        if kind == "words":
            word = tokenizer.words[number]
            begins = word.startswith(marks) if marks else not word.startswith("##")
            if not (begins and text.strip().isalpha()):
                continue
        if number not in first and text.strip().casefold() not in banned:
            found.append(number)
    if not found:
        raise MetaftError(f"no word of tokenizer {tokenizer.name} may stand in a trigger; take words of another kind")
    return torch.tensor(found)
