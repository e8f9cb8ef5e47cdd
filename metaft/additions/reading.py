"""What a prompt has learned: the words that its vectors are near to, and what a model says behind it."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from metaft.additions.attach import placed
from metaft.additions.linear import matrix
from metaft.additions.prompt_start import tokenizer_of
from metaft.additions.virtual_words import WordVectors, word_layer
from metaft.data.texts.labelled_texts import PADDING
from metaft.data.texts.tokenizer import Tokenizer
from metaft.errors import MetaftError
from metaft.language.samples import generated
from metaft.validate import require_count

ASK = "Repeat the words above:"
Near = tuple[tuple[str, float], ...]
"""Words and how near they are, the nearest first."""


@dataclass(frozen=True)
class NearestWords:
    """The words that one vector of a prompt is near to.

    Args:
        place: of the vector, counted from 0; in a pool that of the prompt, then that in it.
        cosine: by the angle between them.
        dot: by their scalar product, as a model that scores words with the matrix of their vectors reads it.
    """

    place: tuple[int, ...]
    cosine: Near
    dot: Near


def nearest_words(
    model: nn.Module, name: str = "prompt", tokenizer: Tokenizer | None = None, k: int = 5
) -> list[NearestWords]:
    """The words of the vocabulary that each vector of a prompt is nearest to.

    Lester et al. 2021, "The power of scale for parameter-efficient prompt tuning", §7 (there by cosines). Where a text
    moves the vectors, those that all texts share are read.

    Args:
        model: a network with the prompt.
        name: what that is called in it.
        tokenizer: says what numbers stand for; the one that the network knows if None.
        k: how many words.

    Returns:
        One for each vector; fewer words if the vocabulary has no more.

    Raises:
        MetaftError: if there is no such addition, it has no vectors of words, or the tokenizer is not known.
    """
    require_count(k, "k", 1)
    read = [added for added in placed(model, name).values() if isinstance(added.piece, WordVectors)]
    if not read:
        raise MetaftError(f"{name!r} has no vectors that stand in the place of words; only prompts can be read")
    found = tokenizer or tokenizer_of(model, f"the nearest words of {name!r}")
    layer = model.get_submodule(word_layer(model, name))
    with torch.no_grad():
        vectors = read[0].piece.learned(read[0].own())
        table = matrix(layer)
        known = torch.tensor([n for n, word in enumerate(found.words[: len(table)]) if word and n != PADDING])
        if not len(known):
            raise MetaftError(f"tokenizer {found.name} has no words")
        words = [found.words[n] for n in known.tolist()]
        rows, against = vectors.flatten(0, -2), table[known.to(table.device)]
        dot = _near(rows @ against.T, words, k)
        unit = nn.functional.normalize
        cosine = _near(unit(rows, dim=-1) @ unit(against, dim=-1).T, words, k)
    places = itertools.product(*map(range, vectors.shape[:-1]))
    return [NearestWords(*row) for row in zip(places, cosine, dot, strict=True)]


def _near(scores: Tensor, words: Sequence[str], k: int) -> list[Near]:
    best = scores.topk(min(k, len(words)), dim=-1)
    return [
        tuple((words[i], value) for i, value in zip(*row, strict=True))
        for row in zip(best.indices.tolist(), best.values.tolist(), strict=True)
    ]


def repeated(
    model: nn.Module, text: str = ASK, words: int = 20, tokenizer: Tokenizer | None = None
) -> str:  # fmt: skip
    """What a causal model says behind its prompt when it is asked to repeat it: the likeliest word, again and again.

    Args:
        model: a network that scores the next word (``words``), with a prompt or without.
        text: what it is asked; it stands between the prompt and the answer.
        words: how many, at most; it ends at a special word.
        tokenizer: reads and writes the words; the one that the network knows if None.

    Returns:
        The answer.

    Raises:
        MetaftError: if the network scores no next word, the text is empty, or the whole is longer than it has places.
    """
    require_count(words, "words", 1)
    if not (getattr(model, "causal", False) and hasattr(model, "words")):
        raise MetaftError(
            f"this {type(model).__name__} does not go on with a text; ask one that reads in one direction, such as "
            "stories260k, hf:smollm2 or transformer:shape=gpt"
        )
    found = tokenizer or tokenizer_of(model, "what it repeats")
    special = set(found.specials.tolist())
    asked = found.encode([text])[0].tolist()
    while len(asked) > 1 and asked[-1] in special:  # such as [SEP], behind which nothing follows
        asked.pop()
    if not asked:
        raise MetaftError(f"text = {text!r} has no words; ask for something")
    training, device = model.training, next(model.parameters()).device
    never = torch.tensor([PADDING], device=device)  # no text holds it

    def scored(ids: Tensor) -> tuple[Tensor]:
        scores: Tensor = model.words(ids)  # type: ignore[operator]
        return (scores[..., : found.vocabulary].index_fill(-1, never, -torch.inf),)

    model.eval()
    try:
        said = generated(scored, torch.tensor([asked], device=device), words, choices=1)[0, len(asked) :].tolist()
    finally:
        model.train(training)
    return found.decode(list(itertools.takewhile(lambda word: word not in special, said)))
