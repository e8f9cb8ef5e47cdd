"""Vectors of texts that are held against each other: by their words, or by the states of a network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from metaft.additions.prompt_start import tokenizer_of
from metaft.data.texts.labelled_texts import Text, parts_of
from metaft.data.texts.tokenizer import Tokenizer
from metaft.errors import MetaftError
from metaft.models.text_vector import TextVector

MOST_KEPT = 2**14
"""Texts whose vectors a network keeps: few tasks have texts of their own alone."""
MEAN = TextVector()

Features = Callable[[Text], Tensor]
"""From a text to its vector, ``[width]``."""


def tf_idf(texts: Sequence[Text]) -> Features:
    """How often each word of some texts stands in one, rare words counting more, as scikit-learn smooths it.

    tf · (ln((1 + n) / (1 + df)) + 1); n texts, of which df have the word. Words are of letters and digits, in small
    letters. Words that none of the texts has count nothing.

    Args:
        texts: whose words are known.

    Returns:
        The vector of any text, ``float64``.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    said = lambda text: " ".join(parts_of(text))
    told = TfidfVectorizer(token_pattern=r"\w+", norm=None)
    try:
        told.fit([said(text) for text in texts])
    except ValueError:  # signs alone: no text is nearer than another
        return lambda text: torch.zeros(1, dtype=torch.float64)
    return lambda text: torch.from_numpy(told.transform([said(text)]).toarray()[0])


def own_states(model: Any, tokenizer: Tokenizer) -> Features:
    """The mean over words of a language model's last states.

    Args:
        model: with ``last_states(ids)``, in evaluation mode.
        tokenizer: of its words.
    """
    return _of_network(lambda ids: MEAN([model.last_states(ids)], ids), model, tokenizer)


def of_network(model: Any, whose: str) -> Features:
    """The vectors that a network makes of texts, see `metaft.models.text_vector`.

    Args:
        model: the network, in evaluation mode.
        whose: who asks, for messages.

    Raises:
        MetaftError: if it makes none, or nobody knows its tokenizer.
    """
    if not isinstance(getattr(model, "vector", None), TextVector):
        raise MetaftError(f"{whose}: this {type(model).__name__} makes no vector of a text; take hf:minilm")
    return _of_network(lambda ids: model.vector(model.states(ids), ids), model, tokenizer_of(model, whose))


def _of_network(read: Callable[[Tensor], Tensor], model: Any, tokenizer: Tokenizer) -> Features:
    places, device = getattr(model, "places", None), next(model.parameters()).device

    @lru_cache(maxsize=MOST_KEPT)
    @torch.no_grad()
    def features(text: Text) -> Tensor:
        """One at a time: read together, texts would change each other's last digits, and who is nearest."""
        ids = tokenizer.cut([text], places)[0].long().to(device)
        return read(ids[None])[0].double().cpu()

    return features
