"""From settings to examples, a network and what of it is tuned by them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, cast

from torch import nn

from metaft.additions.prompt_start import tokenizer_of
from metaft.assembly.backbone import tuned_network
from metaft.assembly.frozen_base import frozen_base
from metaft.assembly.meta_learner import Parts
from metaft.assembly.networks import room_for_words
from metaft.data.dialogues.conversation import Instruction, Preference
from metaft.data.dialogues.load import described, instructions, preferences
from metaft.data.texts.tokenizer import Tokenizer
from metaft.errors import MetaftError
from metaft.inner.scope import select
from metaft.language.chat import ChatTemplate, Ids, template
from metaft.models.anatomy import anatomy
from metaft.models.words import require_goes_on
from metaft.preferences.families import InstructionFamily, PreferenceFamily
from metaft.preferences.learner import Tuning
from metaft.preferences.objective import TuningObjective
from metaft.settings.tune import NOTHING, TuneConfig
from metaft.tables import TUNING

log = logging.getLogger("metaft")
Family = InstructionFamily | PreferenceFamily


def build_tuning(config: TuneConfig) -> Parts[Family, Tuning]:
    """Examples, those that the weights are chosen by, and the network with its initial weights.

    Args:
        config: the settings.

    Returns:
        The parts.

    Raises:
        MetaftError: for an unknown model, data set, template or scope, or data that is absent.
    """
    objective = cast(TuningObjective, TUNING.make(config.objective))
    model = tuned_network(config)
    require_goes_on(model, f"metaft tune ({config.model})")
    trains = _trains(model, config, objective.is_reward)
    for name, p in model.named_parameters():
        p.requires_grad_(name in trains)
    tokenizer = tokenizer_of(model, config.model)
    chat = template(config.template, config.model, tokenizer)
    length = min(config.length, room_for_words(model) or config.length)
    train, val = (_family(config, objective, split, chat, tokenizer, length) for split in ("train", "val"))
    learner = Tuning(model, trains, objective)
    return Parts(train, val, learner, frozen_base(config.model, model, learner.params))


def _trains(model: nn.Module, config: TuneConfig, rewards: bool) -> tuple[str, ...]:
    """What moves: of a reward model its head as well, of what says words no head."""
    found, names = anatomy(model), [name for name, _ in model.named_parameters()]
    head = set(select(names, "head", found))
    if config.scope is not None:
        chosen = set(select(names, config.scope, found))
    elif config.addition == NOTHING:
        chosen = set(names)
    else:
        added = [part.partition(":")[0] for part in config.addition.split("+")]
        chosen = {name for part in added for name in select(names, part, found)}
    chosen = chosen | head if rewards else chosen - head
    if not chosen:
        raise MetaftError(
            f"scope = {config.scope}: that is the head of texts alone, and {config.objective} is of words; try lora"
        )
    return tuple(name for name in names if name in chosen)


def _family(
    config: TuneConfig, objective: TuningObjective, split: str, chat: ChatTemplate, tokenizer: Tokenizer, length: int
) -> Family:
    where: dict[str, Any] = {"root": config.data_root, "seed": config.split_seed}
    told = {**described(config.dataset, **where), "template": chat.name, "tokenizer": tokenizer.name}
    texts: list[tuple[Ids, Ids]] = []
    if objective.data == "instructions":
        texts = _answers(instructions(config.dataset, split, **where), chat, tokenizer, length, split)
    else:
        texts = _pairs(preferences(config.dataset, split, **where), chat, tokenizer, length, split)
    kind = InstructionFamily if objective.data == "instructions" else PreferenceFamily
    places = max((len(prompt) + len(answer) for prompt, answer in texts), default=0)
    return kind(texts, places, config.dataset, split, told, config.seed, {"template.jinja": chat.text})


def _answers(
    examples: Sequence[Instruction], chat: ChatTemplate, tokenizer: Tokenizer, length: int, split: str
) -> list[tuple[Ids, Ids]]:
    found = [chat.fitted(one.prompt, one.answer, tokenizer, length) for one in examples]
    _say_cut(sum(bool(one.turns or one.prompt_words or one.answer_words) for one in found), len(found), length, split)
    return [(one.prompt, one.answer) for one in found]


def _pairs(
    examples: Sequence[Preference], chat: ChatTemplate, tokenizer: Tokenizer, length: int, split: str
) -> list[tuple[Ids, Ids]]:
    """Prompt and answer of both, behind the same prompt: what is cut of it is cut for the longer answer."""
    found: list[tuple[Ids, Ids]] = []
    shorter = 0
    for one in examples:
        parts = [chat.parts(one.prompt, answer, tokenizer) for answer in (one.chosen, one.rejected)]
        longest = max(range(2), key=lambda i: len(parts[i][1]))
        fits = chat.fitted(one.prompt, (one.chosen, one.rejected)[longest], tokenizer, length)
        shorter += bool(fits.turns or fits.prompt_words or fits.answer_words)
        found += [(fits.prompt, answer[: length - len(fits.prompt)]) for _, answer in parts]
    _say_cut(shorter, len(examples), length, split)
    return found


def _say_cut(count: int, total: int, length: int, split: str) -> None:
    if count:
        log.warning(
            "%s: %s of %s examples are longer than %s words and were cut", split, f"{count:,}", f"{total:,}", length
        )
