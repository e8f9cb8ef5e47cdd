"""A reward that is known: how positive a text is to a classifier of SST-2, and to a better one that nobody climbs."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from metaft.data.catalog import dataset

PROXY_TEXTS = 3000
"""So many sentences has the classifier seen that is climbed; the other one has seen all sentences and their phrases."""


def proxy(prompts: Sequence[str], answers: Sequence[str]) -> list[float]:
    """The reward: the log-odds that prompt and answer together are positive.

    Args:
        prompts: what the answers go on from.
        answers: likewise, as many.
    """
    return _log_odds("proxy", prompts, answers)


def gold(prompts: Sequence[str], answers: Sequence[str]) -> list[float]:
    """What the better classifier says of the same; nothing is trained by it."""
    return _log_odds("gold", prompts, answers)


def _log_odds(which: str, prompts: Sequence[str], answers: Sequence[str]) -> list[float]:
    texts = [f"{prompt} {answer}" for prompt, answer in zip(prompts, answers, strict=True)]
    found: list[float] = classifier(which).decision_function(texts).tolist()
    return found


@lru_cache(maxsize=2)
def classifier(which: str) -> Any:
    """Logistic regression on TF-IDF of words and pairs of words.

    Args:
        which: "proxy" or "gold".
    """
    texts, positive = _labelled("train", "sentences" if which == "proxy" else "phrases")
    if which == "proxy":
        chosen = np.random.default_rng(0).permutation(len(texts))[:PROXY_TEXTS]
        texts, positive = [texts[i] for i in chosen], positive[chosen]
    made = make_pipeline(
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True), LogisticRegression(C=10, max_iter=1000)
    )
    return made.fit(texts, positive)


def accuracy(which: str) -> float:
    """Of sentences of SST-2's test part.

    Args:
        which: "proxy" or "gold".
    """
    texts, positive = _labelled("test", "sentences")
    return float((classifier(which).predict(texts) == positive).mean())


def _labelled(split: str, form: str) -> tuple[list[str], np.ndarray]:
    """Texts, and which of them are positive."""
    held = dataset("sst2").texts(split, form=form)
    return list(held.texts), np.repeat([name == "positive" for name in held.names], held.counts)
