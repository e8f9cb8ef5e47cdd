"""From a name to a network that goes on with texts, and its tokenizer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from metaft import models
from metaft.additions.prompt_start import tokenizer_of
from metaft.assembly.backbone import load_backbone
from metaft.assembly.networks import room_for_words
from metaft.data.texts.tokenizer import Tokenizer
from metaft.errors import MetaftError, nearest
from metaft.language.chat import template
from metaft.language.chat_model import ChatModel
from metaft.models.pretrained import PACKAGES, STORIES
from metaft.models.words import SAYS_WORDS
from metaft.plugins import FOREIGN, foreign

GO_ON = f"hf:smollm2, {STORIES}, or a run of metaft pretrain --objective causal"


TEMPLATE = "template.jinja"
"""The file in which a run of ``metaft tune`` keeps the template that it was tuned by."""


def causal_model(name: str, seed: int = 0) -> tuple[Any, Tokenizer]:
    """A network that goes on with texts.

    Args:
        name: "hf:smollm2", "stories260k", "hf:FOLDER", perhaps with options, or a run of ``metaft pretrain --objective
            causal``.
        seed: of the weights, where they are drawn anew.

    Returns:
        The network in evaluation mode, which says words, and the tokenizer of these.

    Raises:
        MetaftError: if there is none of that name, or it does not go on with a text.
    """
    if foreign(name):
        model: Any = models.build(name, outputs=1, seed=seed).eval()
    elif Path(name).is_dir():
        model = load_backbone(name)
    else:
        known = (STORIES, *(f"{FOREIGN}{package}" for package in PACKAGES))
        raise MetaftError(f"unknown model {name!r}{nearest(name, known)}; or a run directory")
    if not (getattr(model, "causal", False) and getattr(model, SAYS_WORDS, False)):
        raise MetaftError(
            f"{name} does not go on with a text: its {type(model).__name__} does not read in one direction and say "
            f"words; take {GO_ON}"
        )
    return model, tokenizer_of(model, name)


def chat_model(name: str, asked: str | None = None, seed: int = 0) -> ChatModel:
    """A network that answers in a dialogue.

    Args:
        name: as of `causal_model`.
        asked: its chat template, as of `metaft.language.chat.template`; None for the one that it was tuned by, else
            that which it brings.
        seed: as of `causal_model`.

    Returns:
        The network with its tokenizer and template.

    Raises:
        MetaftError: as `causal_model` and `metaft.language.chat.template`.
    """
    model, tokenizer = causal_model(name, seed)
    own = Path(name) / TEMPLATE
    chat = template(own if asked is None and own.is_file() else asked, name, tokenizer)
    return ChatModel(name, model, tokenizer, chat, room_for_words(model))
