"""From settings to examples, a network and what of it is tuned by them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from torch import nn

from metaft.additions.prompt_start import tokenizer_of
from metaft.assembly.backbone import load_backbone, tuned_network
from metaft.assembly.causal_model import TEMPLATE
from metaft.assembly.frozen_base import frozen_base
from metaft.assembly.meta_learner import Parts
from metaft.assembly.networks import room_for_words
from metaft.data.dialogues.conversation import Instruction, Preference, digest
from metaft.data.dialogues.load import described, instructions, is_offensive, preferences
from metaft.data.dialogues.prompts import prompts
from metaft.data.texts.corpora import CORPORA
from metaft.data.texts.table import TEXTS
from metaft.data.texts.tokenizer import Tokenizer
from metaft.errors import MetaftError
from metaft.inner.scope import select
from metaft.language.chat import ChatTemplate, Ids, template
from metaft.language.chat_model import ends_of, fitted_pair
from metaft.models.anatomy import anatomy
from metaft.models.words import require_goes_on
from metaft.plugins import is_import_path, load_attribute
from metaft.preferences.families import InstructionFamily, PackedInstructions, PreferenceFamily, PromptFamily
from metaft.preferences.learner import Tuning
from metaft.preferences.objective import TuningObjective
from metaft.preferences.ppo.tuning import PPOLearner, PPOTuning
from metaft.preferences.scorer import OwnReward, RewardModel, Scorer
from metaft.preferences.sft import SFT
from metaft.preferences.turn_form import TurnForm, marks_of
from metaft.preferences.voice import Voice
from metaft.runs.recorded import recorded_config
from metaft.settings.tune import NOTHING, TuneConfig
from metaft.tables import TUNING

log = logging.getLogger("metaft")
Family = InstructionFamily | PreferenceFamily | PromptFamily


def build_tuning(config: TuneConfig, splits: tuple[str, str] = ("train", "val")) -> Parts[Family, Tuning]:
    """Examples, those that the weights are chosen by, and the network with its initial weights.

    Args:
        config: the settings.
        splits: of the examples, and of those that are scored.

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
    plain = config.dataset in (*CORPORA, *TEXTS)  # their beginnings are to go on as they are
    chat = template(config.template or ("text" if plain else None), config.model, tokenizer)
    length = min(config.length, room_for_words(model) or config.length)
    learner: Tuning
    train: Family
    val: Family
    if isinstance(objective, PPOTuning):
        ends = ends_of(chat, tokenizer)
        score = _scorer(str(config.reward), tokenizer, ends)
        train, val = (_prompts(config, objective, split, chat, tokenizer, length) for split in splits)
        learner = PPOLearner(model, trains, objective, score, ends, config.seed)
    else:
        train, val = (_family(config, objective, split, chat, tokenizer, length) for split in splits)
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
) -> InstructionFamily | PreferenceFamily:
    where: dict[str, Any] = {"root": config.data_root, "seed": config.split_seed}
    told = {**described(config.dataset, **where), "template": chat.name, "tokenizer": tokenizer.name}
    texts: list[tuple[Ids, Ids]] = []
    more: dict[str, Any] = {"files": {TEMPLATE: chat.text}, "voice": _voice(config, chat, tokenizer)}
    if objective.data == "instructions":
        texts = _answers(instructions(config.dataset, split, **where), chat, tokenizer, length, split)
    else:
        own = preferences(config.dataset, split, **where)
        if getattr(objective, "soft_labels", False) and any(one.probability is not None for one in own):
            more["targets"] = [one.likelier_first[2] for one in own]
            own = [Preference(one.prompt, *one.likelier_first[:2]) for one in own]
        texts = _pairs(own, chat, tokenizer, length, split)
    kind: type[InstructionFamily | PreferenceFamily] = PreferenceFamily
    places = max((len(prompt) + len(answer) for prompt, answer in texts), default=0)
    if isinstance(objective, SFT):
        kind, places = (PackedInstructions, length) if objective.packed else (InstructionFamily, places)
    if not objective.is_reward:  # which says nothing
        ends = ends_of(chat, tokenizer)
        more["form"] = TurnForm(tokenizer, frozenset(ends), marks_of(chat, [tokenizer.words[end] for end in ends]))
    return kind(texts, places, config.dataset, split, told, config.seed, **more)


def _prompts(
    config: TuneConfig, objective: PPOTuning, split: str, chat: ChatTemplate, tokenizer: Tokenizer, length: int
) -> PromptFamily:
    if config.batch_size < objective.minibatches:
        raise MetaftError(
            f"batch_size = {config.batch_size}: ppo parts the answers into {objective.minibatches} minibatches; take "
            "more answers, or ppo:minibatches=1"
        )
    own = prompts(config.dataset, split, config.data_root, config.split_seed, config.prompt_words)
    read = [chat.opened(one, tokenizer) for one in own]
    short = [ids for ids in read if len(ids) + objective.words <= length]
    if len(short) < len(read):
        log.warning(
            "%s: %d of %d prompts leave no room for %d words within %d, and were left out", split,
            len(read) - len(short), len(read), objective.words, length,
        )  # fmt: skip
    told = {
        "dataset": config.dataset, "split": split, "split_seed": config.split_seed, "prompts_sha256": digest(own),
        "template": chat.name, "tokenizer": tokenizer.name, "reward": config.reward,
    }  # fmt: skip
    return PromptFamily(
        [(ids, ()) for ids in short], max(map(len, short), default=0), config.dataset, split, told, config.seed,
        files={TEMPLATE: chat.text}, voice=_voice(config, chat, tokenizer),
        updates=objective.epochs * objective.minibatches, beta=objective.beta,
    )  # fmt: skip


def _voice(config: TuneConfig, chat: ChatTemplate, tokenizer: Tokenizer) -> Voice | None:
    """What shows answers; None where the data are not to be shown."""
    return None if is_offensive(config.dataset) else Voice(tokenizer, frozenset(ends_of(chat, tokenizer)))


def _scorer(asked: str, tokenizer: Tokenizer, ends: tuple[int, ...]) -> Scorer:
    if is_import_path(asked):
        function = load_attribute(asked)
        if not callable(function):
            raise MetaftError(f"reward = {asked}: it is no function of a prompt and an answer")
        return OwnReward(asked, function, tokenizer, frozenset(ends))
    if not Path(asked).is_dir():
        raise MetaftError(f"reward = {asked}: there is no such run, and it is no import path mymodule:function")
    own = recorded_config(asked)
    if not isinstance(own, TuneConfig) or not own.objective.startswith("reward"):
        raise MetaftError(f"reward = {asked}: it is no run of metaft tune --objective reward")
    model = load_backbone(asked)
    if (read := tokenizer_of(model, asked)).digest != tokenizer.digest:
        raise MetaftError(
            f"reward = {asked}: it reads words of {read.name}, the policy's are {tokenizer.name}; tune a reward model "
            "that begins from the same network"
        )
    return RewardModel(model)


def _answers(
    examples: Sequence[Instruction], chat: ChatTemplate, tokenizer: Tokenizer, length: int, split: str
) -> list[tuple[Ids, Ids]]:
    found = [chat.fitted(one.prompt, one.answer, tokenizer, length) for one in examples]
    _say_cut(sum(bool(one.turns or one.prompt_words or one.answer_words) for one in found), len(found), length, split)
    return [(one.prompt, one.answer) for one in found]


def _pairs(
    examples: Sequence[Preference], chat: ChatTemplate, tokenizer: Tokenizer, length: int, split: str
) -> list[tuple[Ids, Ids]]:
    """Prompt and answer of both, see `fitted_pair`."""
    found: list[tuple[Ids, Ids]] = []
    shorter = 0
    for one in examples:
        both, cut = fitted_pair(chat, one.prompt, (one.chosen, one.rejected), tokenizer, length)
        found, shorter = found + both, shorter + cut
    _say_cut(shorter, len(examples), length, split)
    return found


def _say_cut(count: int, total: int, length: int, split: str) -> None:
    if count:
        log.warning(
            "%s: %s of %s examples are longer than %s words and were cut", split, f"{count:,}", f"{total:,}", length
        )
