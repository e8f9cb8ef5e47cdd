"""The input embeddings of a network: a vector for each word that is one piece of its tokenizer."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from metaft import models
from metaft.assembly.backbone import load_backbone
from metaft.data.texts import corpora, tokenizer
from metaft.data.texts.tokenizer import Tokenizer
from metaft.data.texts.word2vec import NAME, Say, require_gensim, word2vec
from metaft.data.texts.word_vectors import WordVectors
from metaft.errors import MetaftError, nearest
from metaft.models.hugging_face import HuggingFace
from metaft.models.pretrained import PACKAGES, STORIES, folder_of
from metaft.models.transformer import Transformer
from metaft.parts import convert, read_options
from metaft.plugins import FOREIGN, foreign
from metaft.runs.directory import RunDirectory
from metaft.runs.recorded import recorded_config
from metaft.validate import require_count

SPACES = ("Ġ", "▁")
"""How tokenizers write the space before a word; those without mark what goes on with one, by ``##``."""
GOES_ON = "##"
SUPPLIED = frozenset(("corpus", "data_root", "seed", "say"))
_LETTERS = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")


def word_vectors(
    source: str, corpus: str, seed: int = 0, data_root: str | None = None, say: Say = lambda text: None
) -> WordVectors:
    """Words and their vectors, as they are asked for.

    Args:
        source: ``word2vec`` with options as in ``word2vec:size=100,epochs=5``, trained on the corpus; ``hf:minilm``,
            another pretrained model, or a run directory, of which the input embeddings are taken.
        corpus: of word2vec.
        seed: likewise.
        data_root: where corpora are looked for first.
        say: called with how far word2vec's training is.

    Returns:
        The vectors.

    Raises:
        MetaftError: if there is no such source, or it has no vectors of words.
    """
    if source.partition(":")[0] == NAME:
        made = word2vec(corpus, data_root, seed, say, **_options(source))
        return replace(made, name=source)
    if others := foreign(source):
        model = models.build(source, outputs=1, seed=seed)
        return of_network(model, tokenizer.of_model(others.name), source)
    require_source(source, corpus)
    model = load_backbone(source)
    if not isinstance(model, Transformer | HuggingFace):
        raise MetaftError(
            f"{source} holds no network that reads words, but a {type(model).__name__}; name a run of a language model"
        )
    return of_network(model, tokenizer.of_file(RunDirectory(source).path, source), source)


def require_source(source: str, corpus: str) -> None:
    """Refuse what `word_vectors` would refuse, without training or loading anything.

    Args:
        source: as there.
        corpus: of word2vec.

    Raises:
        MetaftError: if there is no such source, or what it needs is absent.
    """
    if source.partition(":")[0] == NAME:
        _options(source)
        require_gensim()
        corpora.names(corpus)
    elif others := foreign(source):
        folder_of(others.name)
    elif Path(source).is_dir():
        recorded_config(source)
    else:
        known = (NAME, STORIES, *(f"{FOREIGN}{package}" for package in PACKAGES))
        raise MetaftError(f"unknown source of word vectors {source!r}{nearest(source, known)}; or a run directory")


def of_network(model: nn.Module, words: Tokenizer, name: str) -> WordVectors:
    """The input embeddings of a network that reads texts.

    Args:
        model: a `Transformer` or `HuggingFace`.
        words: its tokenizer.
        name: what the network was asked for as.

    Returns:
        A vector for each piece of the tokenizer that is a whole word of letters, without what is added for its place.

    Raises:
        MetaftError: if there are fewer vectors than numbers of words, or no whole words.
    """
    table = _embedding(model)
    if words.vocabulary > len(table):
        raise MetaftError(f"{name} has {len(table):,} embeddings, and its tokenizer {words.vocabulary:,} words")
    found = whole_words(words)
    if not found:
        raise MetaftError(f"{name}: no piece of its tokenizer is a whole word")
    about = {"vocabulary": words.vocabulary, "size": table.shape[1]}
    return WordVectors(tuple(found), table[list(found.values())].float(), name, about)


def whole_words(words: Tokenizer) -> dict[str, int]:
    """The pieces of a tokenizer that are whole words.

    Args:
        words: the tokenizer.

    Returns:
        Word → number, in the order of the numbers.
    """
    ordinary = words.ordinary.tolist()
    marks = tuple(
        mark for mark in SPACES if any(words.words[n].startswith(mark) and words.words[n] != mark for n in ordinary)
    )
    found: dict[str, int] = {}
    for number in ordinary:
        written = words.words[number]
        if written.startswith(marks) if marks else not written.startswith(GOES_ON):
            text = words.decode([number]).removeprefix(" ")
            if _LETTERS.fullmatch(text):
                found.setdefault(text, number)
    return found


def _options(source: str) -> dict[str, Any]:
    """The options of word2vec, checked."""
    given = read_options(f"source {source!r}", source.partition(":")[2])
    found: dict[str, Any] = convert(NAME, word2vec, given, SUPPLIED)
    for name, value in found.items():
        require_count(value, f"{NAME}: {name}", 1)
    return found


def _embedding(model: nn.Module) -> Tensor:
    """``[numbers, size]``: the vector of each number of the tokenizer."""
    if isinstance(model, Transformer):
        return model.embedding.words.weight.detach()
    others: Any = model
    found: Tensor = others.model.get_input_embeddings().weight
    return found.detach()
