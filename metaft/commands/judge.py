"""``metaft judge``: a model labels pairs of answers by principles."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from metaft.assembly.causal_model import chat_model
from metaft.data.dialogues.conversation import Preference, Prompt, Turn, digest
from metaft.data.dialogues.load import is_offensive, preferences
from metaft.data.dialogues.prompts import prompts
from metaft.data.notes import counted, say
from metaft.errors import MetaftError
from metaft.evaluation.report import write_result
from metaft.language.chat_model import ChatModel
from metaft.plain_json import finite
from metaft.preferences.feedback.agreement import JUDGE, Report, report
from metaft.preferences.feedback.judge import Judge, Pair, Verdicts
from metaft.preferences.feedback.portions import Portions
from metaft.preferences.feedback.principle import find_principle
from metaft.preferences.feedback.rows import Row, label_row, record_of, require_file, write_rows
from metaft.preferences.feedback.rules import RULES, rule_scores
from metaft.seeds import require_seed
from metaft.tasks.random import generator
from metaft.validate import require_count, require_positive

TOGETHER = 8
"""Pairs that are judged at once; after each so many the labels so far are written."""
NO_ROOM, ALIKE = "left no room", "had two equal or empty answers"
"""Why prompts are left out."""
Progress = Callable[[int, int], None]
Numbered = tuple[int, Prompt]
LeftOut = Mapping[str, int]


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


@dataclass(frozen=True)
class Portion:
    """Some pairs that are judged.

    Args:
        pairs: themselves.
        verdicts: of the judge.
        rules: what rules make of both answers, by name, ``float64 [pairs, 2]``.
        left_out: why prompts have no pair → how many.
    """

    pairs: Sequence[Pair]
    verdicts: Verdicts
    rules: Mapping[str, Tensor]
    left_out: LeftOut

    def to_json(self) -> dict[str, Any]:
        """As plain values, of which `from_json` makes the same."""
        first, letters, cut = self.verdicts.first.tolist(), self.verdicts.letters.tolist(), self.verdicts.cut
        pairs = [[[[turn.role, turn.text] for turn in prompt], *both] for prompt, *both in self.pairs]
        rules = {name: value.tolist() for name, value in self.rules.items()}
        return {"pairs": pairs, "first": first, "letters": letters, "cut": cut, "rules": rules,
                "left_out": dict(self.left_out)}  # fmt: skip

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Portion:
        """As `to_json` made it."""
        exact = lambda value: torch.tensor(value, dtype=torch.float64)
        pairs = [(tuple(Turn(*turn) for turn in prompt), *both) for prompt, *both in found["pairs"]]
        verdicts = Verdicts(exact(found["first"]), exact(found["letters"]), found["cut"])
        rules = {name: exact(value).view(-1, 2) for name, value in found["rules"].items()}
        return cls(pairs, verdicts, rules, found["left_out"])


def judge(
    settings: JudgeSettings,
    out: str | Path | None = None,
    *,
    overwrite: bool = False,
    resume: bool = False,
    command: str | None = None,
    progress: Progress | None = None,
) -> Report:
    """Label pairs, and compare the labels with people's and with simple rules.

    Args:
        settings: what is judged, and how.
        out: the file of labels ``.jsonl``; a ``.json`` beside it says how they were made. None for none.
        overwrite: whether files that are there may be replaced.
        resume: whether to go on with labels that were stopped, to the same end.
        command: what to record as the command.
        progress: told pairs (or prompts) done, and all.

    Returns:
        What the labels are worth.

    Raises:
        MetaftError: for unknown models, data, principles or templates, an ``out`` that cannot be written, or nothing to
            go on with.
    """
    if resume and out is None:
        raise MetaftError("--resume goes on with a file of labels: give it by --out")
    path = None if out is None else require_file(out, overwrite, resume)
    principles = tuple(find_principle(one) for one in settings.principles)
    labelled = settings.answers_from is None
    given: Sequence[Pair] | Sequence[Numbered] = _pairs(settings) if labelled else _prompts(settings)
    offensive = is_offensive(settings.dataset)
    chat = chat_model(settings.model, settings.template, settings.seed)
    extra: dict[str, Any] = {"settings": {**vars(settings), "principles": [vars(one) for one in principles]}}
    extra |= {"template": {"name": chat.template.name, "text": chat.template.text}}
    asked = Judge(chat, principles, settings.length)
    answer = None if labelled else _answers(settings, chat)
    kept = Portions(path, {**extra, "given_sha256": _digest(given)}, resume)
    portions, rows = list[Portion](), list[Row]()
    for begin in range(0, len(given), TOGETHER):
        part: Any = given[begin : begin + TOGETHER]
        if kept.done:
            portions.append(Portion.from_json(kept.done.pop(0)))
        else:
            pairs, left_out = (part, {}) if answer is None else answer(part)
            portions.append(Portion(pairs, asked(pairs), rule_scores(chat, pairs, settings.length), left_out))
            kept.add(portions[-1].to_json())
        own = zip(portions[-1].pairs, portions[-1].verdicts.first.tolist(), strict=True)
        rows += [label_row(*one, labelled, offensive) for one in own]
        if path is not None and rows:
            write_rows(path, rows)
        if progress is not None:
            progress(begin + len(part), len(given))
    if not rows:
        raise MetaftError(
            f"{settings.answers_from} gave no two different answers to any prompt; try more --words, or another model"
        )
    _say_left_out(portions, len(given))
    whole = Verdicts.joined([one.verdicts for one in portions])
    if whole.cut:
        say(f"{counted(whole.cut, 'pair')} of {len(rows):,} were cut to {settings.length} words (--length)")
    rules = {name: torch.cat([one.rules[name] for one in portions]) for name in RULES}
    told = report(whole, rules, labelled)
    if path is not None:
        extra |= {"prompts_sha256": digest([one[0] for own in portions for one in own.pairs]), "cut": whole.cut}
        write_result(record_of(path), {JUDGE: finite(told.to_json())}, command or "", [settings.seed], extra)
        kept.finish()
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


def _prompts(settings: JudgeSettings) -> list[Numbered]:
    found = prompts(settings.dataset, settings.split, settings.data_root, settings.split_seed)
    return [(i, found[i]) for i in drawn(len(found), settings)]


def _digest(given: Sequence[Any]) -> str:
    """Of prompts that are numbered, or of pairs, the better answer first."""
    if given and len(given[0]) == 3:
        return digest(Preference(*one) for one in given)
    return digest(prompt for _, prompt in given)


def _answers(settings: JudgeSettings, judge: ChatModel) -> Callable[[Sequence[Numbered]], tuple[list[Pair], LeftOut]]:
    """Gives two answers to each prompt; where they are alike or empty there is nothing to judge."""
    own = settings.answers_from == settings.model
    chat = judge if own else chat_model(str(settings.answers_from), None, settings.seed)

    def answer(part: Sequence[Numbered]) -> tuple[list[Pair], LeftOut]:
        opened = [(i, prompt, chat.opened(prompt, settings.words, settings.length)) for i, prompt in part]
        room = [(i, prompt, ids) for i, prompt, ids in opened if ids is not None]
        said = chat.answers(
            [ids for _, _, ids in room for _ in range(2)], words=settings.words, temperature=settings.temperature,
            seed=settings.seed, numbers=[2 * i + which for i, _, _ in room for which in range(2)],
        )  # fmt: skip
        both = zip(room, said[::2], said[1::2], strict=True)
        pairs = [(prompt, one, other) for (_, prompt, _), one, other in both if one and other and one != other]
        return pairs, {NO_ROOM: len(part) - len(room), ALIKE: len(room) - len(pairs)}

    return answer


def _say_left_out(portions: Sequence[Portion], total: int) -> None:
    for why in (NO_ROOM, ALIKE):
        if count := sum(one.left_out.get(why, 0) for one in portions):
            say(f"{counted(count, 'prompt')} of {total:,} {why}, and were left out")
