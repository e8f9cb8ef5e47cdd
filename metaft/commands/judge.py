"""``metaft judge``: a model labels pairs of answers by principles."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from metaft.assembly.causal_model import chat_model
from metaft.data.dialogues.conversation import Preference, Prompt, digest
from metaft.data.dialogues.load import is_offensive, preferences
from metaft.data.dialogues.prompts import prompts
from metaft.data.notes import counted, say
from metaft.errors import MetaftError
from metaft.evaluation.report import write_result
from metaft.language.chat_model import ChatModel
from metaft.plain_json import finite
from metaft.preferences.feedback.agreement import JUDGE, Report, report
from metaft.preferences.feedback.judge import Judge, Pair, Verdicts
from metaft.preferences.feedback.principle import find_principle
from metaft.preferences.feedback.rows import Row, label_row, record_of, require_file, write_rows
from metaft.preferences.feedback.rules import rule_scores
from metaft.seeds import require_seed
from metaft.tasks.random import generator
from metaft.validate import require_count, require_positive

TOGETHER = 8
"""Pairs that are judged at once; after each so many the labels so far are written."""
Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class JudgeSettings:
    """What ``metaft judge`` can be told.

    Args:
        dataset: preferences, or prompts where ``answers_from`` says who answers them.
        model: the judge.
        principles: by which it judges; names, files or sentences.
        split: "train", "val", "test" or "all".
        limit: how many pairs are drawn, or prompts; None for all, in order.
        answers_from: the model that writes two answers to each prompt; None where answers are given.
        words: of such an answer, at most.
        temperature: of what is drawn.
        template: the judge's chat template, as of `metaft.language.chat.template`.
        length: words of a question to the judge, at most.
        data_root: where data are looked for first.
        split_seed: how prompts are divided.
        seed: which pairs are drawn, and of answers.

    Raises:
        MetaftError: if a number does not fit, or no principle is given.
    """

    dataset: str
    model: str = "hf:smollm2"
    principles: tuple[str, ...] = ("helpful",)
    split: str = "all"
    limit: int | None = None
    answers_from: str | None = None
    words: int = 64
    temperature: float = 1.0
    template: str | None = None
    length: int = 1024
    data_root: str | None = None
    split_seed: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        require_seed(self.seed)
        require_count(self.words, "words", 1)
        require_count(self.length, "length", 64)
        require_positive(self.temperature, "temperature")
        if self.limit is not None:
            require_count(self.limit, "limit", 1)
        if not self.principles:
            raise MetaftError("a judge needs a principle: --principle helpful")


def judge(
    settings: JudgeSettings,
    out: str | Path | None = None,
    *,
    overwrite: bool = False,
    command: str | None = None,
    progress: Progress | None = None,
) -> Report:
    """Label pairs, and compare the labels with people's and with simple rules.

    Args:
        settings: what is judged, and how.
        out: the file of labels ``.jsonl``; a ``.json`` beside it says how they were made. None for none.
        overwrite: whether files that are there may be replaced.
        command: what to record as the command.
        progress: told pairs done and pairs in all.

    Returns:
        What the labels are worth.

    Raises:
        MetaftError: for unknown models, data, principles or templates, or an ``out`` that cannot be written.
    """
    path = None if out is None else require_file(out, overwrite)
    principles = tuple(find_principle(one) for one in settings.principles)
    labelled = settings.answers_from is None
    given = _pairs(settings) if labelled else []
    unanswered = [] if labelled else _prompts(settings)
    offensive = is_offensive(settings.dataset)
    chat = chat_model(settings.model, settings.template, settings.seed)
    pairs = given if labelled else _answered(settings, unanswered, chat)
    asked = Judge(chat, principles, settings.length)
    verdicts, rules, rows = list[Verdicts](), list[dict[str, Tensor]](), list[Row]()
    for begin in range(0, len(pairs), TOGETHER):
        part = pairs[begin : begin + TOGETHER]
        verdicts.append(asked(part))
        rules.append(rule_scores(chat, part, settings.length))
        rows += [label_row(*one, labelled, offensive) for one in zip(part, verdicts[-1].first.tolist(), strict=True)]
        if path is not None:
            write_rows(path, rows)
        if progress is not None:
            progress(len(rows), len(pairs))
    whole = Verdicts.joined(verdicts)
    if whole.cut:
        say(f"{counted(whole.cut, 'pair')} of {len(pairs):,} were cut to {settings.length} words (--length)")
    told = report(whole, {name: torch.cat([one[name] for one in rules]) for name in rules[0]}, labelled)
    if path is not None:
        extra: dict[str, Any] = {"settings": {**vars(settings), "principles": [vars(one) for one in principles]}}
        extra |= {"prompts_sha256": digest([prompt for prompt, *_ in pairs]), "cut": whole.cut}
        extra["template"] = {"name": chat.template.name, "text": chat.template.text}
        write_result(record_of(path), {JUDGE: finite(told.to_json())}, command or "", [settings.seed], extra)
    return told


def drawn(count: int, settings: JudgeSettings) -> list[int]:
    """Which of some pairs or prompts are judged: all, or as many as asked for, drawn without repeats.

    Args:
        count: how many there are.
        settings: with ``limit`` and ``seed``.

    Returns:
        Their numbers, in order.
    """
    if settings.limit is None or settings.limit >= count:
        return list(range(count))
    order = generator(settings.seed, f"judge/{settings.dataset}/{settings.split}", 0).permutation(count)
    return sorted(order[: settings.limit].tolist())


def _pairs(settings: JudgeSettings) -> list[Pair]:
    try:
        found: list[Preference] = preferences(settings.dataset, settings.split, settings.data_root, settings.split_seed)
    except MetaftError as error:
        if "not preferences" not in str(error):
            raise
        raise MetaftError(f"{error}; or let a model answer its prompts twice: --answers-from MODEL") from None
    return [(found[i].prompt, *found[i].likelier_first[:2]) for i in drawn(len(found), settings)]


def _prompts(settings: JudgeSettings) -> list[tuple[int, Prompt]]:
    found = prompts(settings.dataset, settings.split, settings.data_root, settings.split_seed)
    return [(i, found[i]) for i in drawn(len(found), settings)]


def _answered(settings: JudgeSettings, found: Sequence[tuple[int, Prompt]], judge: ChatModel) -> list[Pair]:
    """Two answers to each prompt; where they are alike or empty there is nothing to judge, and it is said."""
    own = settings.answers_from == settings.model
    chat = judge if own else chat_model(str(settings.answers_from), None, settings.seed)
    ids = {i: chat.opened(prompt, settings.words, settings.length) for i, prompt in found}
    room = [(i, prompt, one) for i, prompt in found if (one := ids[i]) is not None]
    pairs: list[Pair] = []
    for begin in range(0, len(room), TOGETHER):
        part = room[begin : begin + TOGETHER]
        said = chat.answers(
            [one for _, _, one in part for _ in range(2)], words=settings.words, temperature=settings.temperature,
            seed=settings.seed, numbers=[2 * i + which for i, _, _ in part for which in range(2)],
        )  # fmt: skip
        both = zip(part, said[::2], said[1::2], strict=True)
        pairs += [(prompt, one, other) for (_, prompt, _), one, other in both if one and other and one != other]
    for count, why in (
        (len(found) - len(room), "left no room"),
        (len(room) - len(pairs), "had two equal or empty answers"),
    ):
        if count:
            say(f"{counted(count, 'prompt')} of {len(found):,} {why}, and were left out")
    if not pairs:
        raise MetaftError(
            f"{chat.name} gave no two different answers to any prompt; try more --words, or another model"
        )
    return pairs
