"""From settings to passages and the network that is trained on them."""

from __future__ import annotations

from typing import Any, cast

from metaft import models
from metaft.errors import MetaftError
from metaft.language import corpus
from metaft.language.model import LanguageModel
from metaft.language.passages import Asking, Passages
from metaft.models.transformer import Transformer
from metaft.plugins import named_part
from metaft.settings.pretrain import PretrainConfig
from metaft.tables import WORD_OBJECTIVES


def passages(config: PretrainConfig, split: str) -> Passages:
    """Passages of one split of a corpus.

    Args:
        config: the settings.
        split: "train" or "val".

    Returns:
        The passages.

    Raises:
        MetaftError: for an unknown corpus, tokenizer or objective, or a corpus that is absent.
    """
    asked = cast(Asking, WORD_OBJECTIVES.make(config.objective))
    held = corpus.load(config.dataset, split, str(config.tokenizer), config.data_root)
    return Passages(held, asked, config.length, config.seed)


def language_model(config: PretrainConfig, vocabulary: int, separator: int) -> LanguageModel:
    """The network with its initial weights.

    Args:
        config: the settings.
        vocabulary: how many words there are.
        separator: the number of the word between two segments.

    Returns:
        The network.

    Raises:
        MetaftError: if the model is no transformer of ours, or reads in a direction that the objective does not fit.
    """
    asked = cast(Asking, WORD_OBJECTIVES.make(config.objective))
    return LanguageModel(transformer(config, vocabulary, separator, asked), asked.order, config.seed)


def transformer(config: PretrainConfig, vocabulary: int, separator: int, asked: Asking) -> Transformer:
    """The transformer of a language model.

    Args:
        config: the settings.
        vocabulary: how many words there are.
        separator: the number of the word between two segments.
        asked: the objective.

    Returns:
        The network with its initial weights.

    Raises:
        MetaftError: as `language_model`.
    """
    part = named_part(config.model, "model")
    if part.name != "transformer":
        raise MetaftError(
            f"model = {config.model}: words are said by a transformer: --model transformer:layers=4,width=256"
        )
    # What the model's own text says goes before it.
    usual: dict[str, Any] = {} if "preset" in part.options else {"shape": "gpt" if asked.causal else "bert"}
    usual |= {"separator": separator} if asked.order else {}
    how: dict[str, Any] = {"outputs": 1, "input_shape": (config.length,), "seed": config.seed, "vocabulary": vocabulary}
    made = cast(Transformer, models.build(config.model, **how, **usual))
    if made.causal != asked.causal:
        fits = "shape=gpt or shape=llama" if asked.causal else "shape=bert"
        raise MetaftError(f"model = {config.model}: objective {config.objective} asks for {fits}")
    places = made.embedding.places
    if places is not None and places.num_embeddings < config.length:
        raise MetaftError(
            f"length = {config.length}: the model has {places.num_embeddings} places; say transformer:places="
            f"{config.length}"
        )
    return made
