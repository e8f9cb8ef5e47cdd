"""From a name to the network whose words a language model learns from."""

from __future__ import annotations

from typing import Any

from torch import nn

from metaft import models
from metaft.assembly.backbone import load_backbone
from metaft.data.texts import tokenizer
from metaft.data.texts.tokenizer import Tokenizer
from metaft.errors import MetaftError
from metaft.language.passages import Passages
from metaft.language.teacher import WordTeacher
from metaft.models.places import places_of
from metaft.models.words import SAYS_WORDS
from metaft.plugins import FOREIGN, foreign
from metaft.runs.recorded import recorded_config
from metaft.settings.pretrain import PretrainConfig


def word_teacher(name: str, passages: Passages) -> WordTeacher:
    """A teacher for passages.

    Args:
        name: a run of ``metaft pretrain`` on words, "stories260k", "hf:smollm2" or "hf:FOLDER".
        passages: what the student is trained on.

    Returns:
        The teacher.

    Raises:
        MetaftError: if there is none of that name, it says no words or those of another tokenizer, reads in the other
            direction, or has fewer places than a passage.
    """
    model, own, places = _foreign(name) if foreign(name) else _run(name)
    ours, objective = passages.corpus.tokenizer, passages.objective
    if own.digest != ours.digest:
        raise MetaftError(
            f"the teacher {name} says words of its own tokenizer, and the passages are in those of {ours.name}: the "
            f"same numbers are other words; use --tokenizer {_words_of(name)}"
        )
    if not getattr(model, SAYS_WORDS, False):
        raise MetaftError(
            f"the teacher {name} says no words; use a run of metaft pretrain --objective …, or hf:smollm2"
        )
    causal: Any = model.causal
    if causal != objective.causal:
        said = "the next word (--objective causal)" if causal else "hidden words (--objective masked)"
        raise MetaftError(f"the teacher {name} says {said}: its student has to be asked the same")
    if places is not None and places < passages.length:
        raise MetaftError(f"length = {passages.length}: the teacher {name} has {places} places; ask for no more")
    return WordTeacher(model, name, ours.vocabulary)


def _words_of(name: str) -> str:
    others = foreign(name)
    return name if others is None else f"{FOREIGN}{others.name}"


def _foreign(name: str) -> tuple[nn.Module, Tokenizer, int | None]:
    return models.build(name, outputs=1, seed=0), tokenizer.asked(_words_of(name), ()), places_of(name)


def _run(name: str) -> tuple[nn.Module, Tokenizer, int | None]:
    config = recorded_config(name)
    if not (isinstance(config, PretrainConfig) and config.on_words):
        raise MetaftError(
            f"the teacher {name} says no words; use a run of metaft pretrain --objective …, or hf:smollm2"
        )
    return load_backbone(name), tokenizer.of_file(name), places_of(config.model)
