"""``metaft revise``: a model answers, criticises its answers by principles, and writes them anew."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from metaft.assembly.causal_model import chat_model
from metaft.data.dialogues.conversation import Prompt, digest
from metaft.data.dialogues.load import is_offensive
from metaft.data.dialogues.prompts import prompts
from metaft.data.notes import counted, say
from metaft.errors import MetaftError
from metaft.evaluation.report import write_result
from metaft.preferences.feedback.portions import Portions
from metaft.preferences.feedback.principle import find_principle
from metaft.preferences.feedback.revision import Revised, Reviser, Step
from metaft.preferences.feedback.rows import record_of, require_file, revised_row, write_rows
from metaft.seeds import require_seed
from metaft.validate import require_count, require_positive

TOGETHER = 8
"""Prompts that are answered at once; after each so many the rows so far are written."""


@dataclass(frozen=True, kw_only=True)
class ReviseSettings:
    """What ``metaft revise`` can be told.

    Args:
        prompts: what is answered, as `metaft.data.dialogues.prompts.prompts` takes it.
        model: answers, criticises and writes anew.
        principles: a round for each; names, files or sentences.
        split: "train", "val", "test" or "all".
        limit: how many prompts, the first; None for all.
        words: of an answer and of a critique, at most.
        temperature: of what is drawn.
        template: the chat template, as of `metaft.language.chat.template`.
        data_root: where data are looked for first.
        split_seed: how prompts are divided.
        seed: of what is drawn.

    Raises:
        MetaftError: if a number does not fit, or no principle is given.
    """

    prompts: str
    model: str = "hf:smollm2"
    principles: tuple[str, ...] = ("helpful",)
    split: str = "all"
    limit: int | None = None
    words: int = 96
    temperature: float = 0.7
    template: str | None = None
    data_root: str | None = None
    split_seed: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        require_seed(self.seed)
        require_count(self.words, "words", 1)
        require_positive(self.temperature, "temperature")
        if self.limit is not None:
            require_count(self.limit, "limit", 1)
        if not self.principles:
            raise MetaftError("a revision needs a principle: --principle helpful")


@dataclass(frozen=True)
class RevisedReport:
    """What came of it.

    Args:
        rows: prompts with a revised answer.
        changed: how many of these answers are not the first ones.
        words_before: of a first answer, by white space, in the mean.
        words_after: of a revised one.
        left_out: why others have none → how many.
    """

    rows: int
    changed: int
    words_before: float
    words_after: float
    left_out: Mapping[str, int] = field(default_factory=dict)


def revise(
    settings: ReviseSettings,
    out: str | Path,
    *,
    overwrite: bool = False,
    resume: bool = False,
    command: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> RevisedReport:
    """Write prompts with revised answers, for ``metaft tune --objective sft``.

    Args:
        settings: what is answered, and how.
        out: the file ``.jsonl``; a ``.json`` beside it says how it was made.
        overwrite: whether files that are there may be replaced.
        resume: whether to go on with rows that were stopped, to the same end.
        command: what to record as the command.
        progress: told prompts done and prompts in all.

    Returns:
        What came of it.

    Raises:
        MetaftError: for unknown models, data, principles or templates, an ``out`` that cannot be written, nothing to go
            on with, or where no prompt has a revised answer.
    """
    path = require_file(out, overwrite, resume)
    principles = tuple(find_principle(one) for one in settings.principles)
    found = prompts(settings.prompts, settings.split, settings.data_root, settings.split_seed)[: settings.limit]
    offensive = is_offensive(settings.prompts)
    chat = chat_model(settings.model, settings.template, settings.seed)
    reviser = Reviser(chat, principles, settings.words, settings.temperature, settings.seed)
    extra: dict[str, Any] = {"settings": {**vars(settings), "principles": [vars(one) for one in principles]}}
    extra |= {"prompts_sha256": digest(found), "template": {"name": chat.template.name, "text": chat.template.text}}
    kept = Portions(path, extra, resume)
    done, left_out = list[Revised](), Counter[str]()
    for begin in range(0, len(found), TOGETHER):
        part = found[begin : begin + TOGETHER]
        if kept.done:
            of_part = [_from_json(prompt, one) for prompt, one in zip(part, kept.done.pop(0)["found"], strict=True)]
        else:
            of_part = reviser(part, range(begin, begin + len(part)))
            kept.add(
                {"found": [one if isinstance(one, str) else [vars(step) for step in one.steps] for one in of_part]}
            )
        done += [one for one in of_part if isinstance(one, Revised)]
        left_out.update(one for one in of_part if isinstance(one, str))
        if done:
            write_rows(path, (revised_row(one, offensive) for one in done))
        if progress is not None:
            progress(begin + len(part), len(found))
    for why, count in left_out.items():
        say(f"{counted(count, 'prompt')} of {len(found):,} left out that {why}")
    if not done:
        raise MetaftError(
            f"{settings.model} revised no answer ({', '.join(left_out)}); try fewer --words, or another model"
        )
    told = _report(done, left_out)
    write_result(record_of(path), {"revised": vars(told)}, command or "", [settings.seed], extra)
    kept.finish()
    return told


def _plain(one: Revised | str) -> str | list[dict[str, str]]:
    return one if isinstance(one, str) else [asdict(step) for step in one.steps]


def _from_json(prompt: Prompt, found: str | list[dict[str, str]]) -> Revised | str:
    """What `_plain` made of the rounds of a prompt, or why it has none."""
    return found if isinstance(found, str) else Revised(prompt, tuple(Step(**one) for one in found))


def _report(done: list[Revised], left_out: Mapping[str, int]) -> RevisedReport:
    mean = lambda texts: sum(len(text.split()) for text in texts) / len(done)
    first, last = [one.steps[0].answer for one in done], [one.answer for one in done]
    changed = sum(before != after for before, after in zip(first, last, strict=True))
    return RevisedReport(len(done), changed, mean(first), mean(last), dict(left_out))
