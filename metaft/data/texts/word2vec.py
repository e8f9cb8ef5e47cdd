"""word2vec (Mikolov et al. 2013) on plain texts, by gensim; the same every time, and kept in the cache."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Sequence
from importlib import metadata
from typing import Any

import torch

from metaft.data import cache
from metaft.data.cache import Entry
from metaft.data.texts import corpora
from metaft.data.texts.word_vectors import WordVectors
from metaft.errors import MetaftError
from metaft.seeds import require_seed
from metaft.validate import require_count

NAME = "word2vec"
NEGATIVE, SAMPLE = 5, 1e-4
"""Wrong words beside each right one, and the frequency above which a word is left out now and then (ibid., §2)."""
ALPHA = 0.025
_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")


def words_of(text: str) -> list[str]:
    """The words of a text in lower case, without numbers and punctuation.

    Args:
        text: such as a paragraph.

    Returns:
        The words in order; an apostrophe within one belongs to it.
    """
    return [word.replace("’", "'") for word in _WORD.findall(text.lower())]


Say = Callable[[str], object]


def word2vec(
    corpus: str, data_root: str | None = None, seed: int = 0, say: Say = lambda text: None, *, size: int = 100,
    window: int = 5, epochs: int = 5, least: int = 5,
) -> WordVectors:  # fmt: skip
    """Skip-gram with negative sampling, on the training part of a corpus; a paragraph is a sentence.

    Args:
        corpus: as `metaft.data.texts.corpora.load` takes it.
        data_root: where corpora are looked for first.
        seed: of the initial vectors and all draws.
        say: called with how far training is.
        size: of a vector.
        window: how many words to the left and right are foretold, at most.
        epochs: how often the corpus is read.
        least: how often a word must stand in it to be known.

    Returns:
        The vectors, the most frequent word first.

    Raises:
        MetaftError: if gensim or the corpus is absent, or no word is frequent enough.
    """
    for name, value in (("size", size), ("window", window), ("epochs", epochs), ("least", least)):
        require_count(value, f"{NAME}: {name}", 1)
    version = require_gensim()
    documents = corpora.load(corpus, "train", data_root)
    asked = {"size": size, "window": window, "epochs": epochs, "least": least, "seed": require_seed(seed)}
    paragraphs = [paragraph for document in documents for paragraph in document.paragraphs]
    key = json.dumps([asked, version, NEGATIVE, SAMPLE, ALPHA, paragraphs])
    found = cache.cached(
        f"{NAME}-{hashlib.sha256(key.encode()).hexdigest()[:32]}", lambda: _trained(paragraphs, corpus, asked, say)
    )
    facts = {"corpus": corpus, "words_read": int(found.tensors["read"]), **asked, "gensim": version}
    return WordVectors(found.names, found.tensors["vectors"], NAME, facts)


def require_gensim() -> str:
    """The version of gensim.

    Raises:
        MetaftError: if it is not installed.
    """
    try:
        return metadata.version("gensim")
    except metadata.PackageNotFoundError:
        raise MetaftError("word2vec needs the extra words: pip install 'metaft[words]'") from None


def _trained(paragraphs: Sequence[str], corpus: str, asked: dict[str, int], say: Say) -> Entry:
    sentences = [found for paragraph in paragraphs if (found := words_of(paragraph))]
    read = sum(map(len, sentences))
    vectors: Any = _train(_Passes(sentences, f"{read:,} words", asked["epochs"], say), asked).wv if sentences else ()
    if len(vectors) == 0:
        raise MetaftError(
            f"corpus {corpus}: no word stands in it {asked['least']} times; take a longer one, or word2vec:least=1"
        )
    learned = {"vectors": torch.from_numpy(vectors.vectors.copy()), "read": torch.tensor(read)}
    return Entry(learned, tuple(vectors.index_to_key))


class _Passes:
    """Sentences that say when they are read again: first to count words, then once an epoch."""

    def __init__(self, sentences: Sequence[list[str]], what: str, epochs: int, say: Say) -> None:
        self.sentences, self.what, self.epochs, self.say, self.times = sentences, what, epochs, say, 0

    def __iter__(self) -> Iterator[list[str]]:
        where = f"epoch {self.times} of {self.epochs}" if self.times else "counting"
        self.say(f"{NAME}: {where}, {self.what} …")
        self.times += 1
        return iter(self.sentences)


def _train(sentences: _Passes, asked: dict[str, int]) -> Any:
    from gensim.models import Word2Vec

    # One worker: several would take turns as the machine pleases.
    model = Word2Vec(
        vector_size=asked["size"], window=asked["window"], min_count=asked["least"], epochs=asked["epochs"],
        seed=asked["seed"], workers=1, sg=1, negative=NEGATIVE, sample=SAMPLE, alpha=ALPHA,
    )  # fmt: skip
    model.build_vocab(sentences)
    if len(model.wv):
        model.train(sentences, total_examples=model.corpus_count, epochs=model.epochs)
    return model
