"""From settings to networks with initial weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from metaft import models
from metaft.additions import attach, freeze_base
from metaft.assembly.words import require_own_words, tokens_of
from metaft.data.texts.tokenizer import Tokenizer
from metaft.errors import MetaftError
from metaft.models.added import beside
from metaft.models.heads import with_cosine_head
from metaft.models.transformer import Transformer
from metaft.plugins import foreign, named_part
from metaft.settings.learner import ModelSettings
from metaft.settings.pretrain import SupervisedConfig
from metaft.tasks.family import TaskFamily

MODEL_OPTIONS: dict[str, Callable[[ModelSettings], dict[str, Any]]] = {
    "conv4": lambda c: {"hidden": c.hidden, "pool": c.pool},
    "mlp": lambda c: {"hidden": (c.hidden, c.hidden)},
    "resnet12": lambda c: {"hidden": c.hidden, "widths": c.widths},
}
"""Which settings each network takes."""


def build_model(config: ModelSettings, family: TaskFamily, seed: int, **more: Any) -> nn.Module:
    """The network, with initial weights.

    Args:
        config: the settings.
        family: tells the input's shape and the number of outputs.
        seed: of the initial weights.
        more: options of the network beside those that the settings name.

    Returns:
        The network.

    Raises:
        MetaftError: if the model is unknown, or does not suit the inputs.
    """
    if others := foreign(config.model):
        require_own_words(config.model, others.name, family)
    name = "" if others else named_part(config.model, "model").name
    options = MODEL_OPTIONS.get(name, lambda c: {})(config) | more
    tokens = tokens_of(family)
    if name == "transformer" and tokens is not None:
        options |= {"vocabulary": tokens.vocabulary}
        if named_part(config.model, "model").options.get("pool") == "marked":
            options |= {"signs": Tokenizer(tokens.tokenizer, "the data's").signs()}
    model = models.build(config.model, outputs=family.outputs, input_shape=family.input_shape, seed=seed, **options)
    if isinstance(model, Transformer) and model.tokenizer is None and tokens is not None and tokens.tokenizer:
        model.tokenizer = Tokenizer(tokens.tokenizer, "the data's")
    model = with_addition(model, config.addition, config.frozen, seed)
    _require_places(model, family)
    return model


def room_for_words(model: nn.Module) -> int | None:
    """How many words a text may have for a network, those left out that an addition takes.

    Args:
        model: the network, or a module that has it within.

    Returns:
        The number; None for any.
    """
    for part in model.modules():
        most, reads = getattr(part, "places", None), getattr(part, "input", None)
        if isinstance(most, int) and isinstance(reads, nn.Module):
            return most - sum(added.piece.takes for added in beside(reads))
    return None


def _require_places(model: nn.Module, family: TaskFamily) -> None:
    """Refuse texts for which an addition leaves too few places, before anything is trained."""
    most, room, longest = getattr(model, "places", None), room_for_words(model), family.input_shape[-1]
    if isinstance(most, int) and room is not None and room < most and longest > room:
        raise MetaftError(
            f"texts of up to {longest} words, and {most - room} of the network's {most} places are the addition's; "
            f"cut them: max_words={room}"
        )


def with_addition(model: nn.Module, addition: str | None, frozen: str | None, seed: int) -> nn.Module:
    """A network with what is put into it.

    Args:
        model: the network.
        addition: what, as `metaft.additions.attach` reads it; None for nothing.
        frozen: "base" for all but additions and head, "nothing"; by default the base where there is an addition.
        seed: of what is put in.

    Returns:
        The network; a copy if something is put in.

    Raises:
        MetaftError: if an addition is unknown, or the network has no place for it.
    """
    model = model if addition is None else attach(model, addition, seed)
    stays = (frozen or "base") if addition is not None else frozen
    return freeze_base(model) if stays == "base" else model


def build_classifier(config: SupervisedConfig, family: TaskFamily) -> nn.Module:
    """The network, with initial weights.

    Args:
        config: the settings.
        family: tells the input's shape and the number of classes.

    Returns:
        The network, its head linear or by cosines.

    Raises:
        MetaftError: if the model is unknown, does not suit the images, or has no head to replace.
    """
    regularised = {name: share for name in ("dropout", "input_dropout") if (share := getattr(config, name, 0.0))}
    model = build_model(config, family, config.seed, **regularised)
    return with_cosine_head(model, config.seed) if config.head == "cosine" else model
