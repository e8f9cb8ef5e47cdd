"""What a judge and a reviser write: rows of JSON that ``metaft tune`` reads."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from metaft.data.dialogues.conversation import Prompt
from metaft.data.dialogues.fields import OFFENSIVE, PROBABILITY
from metaft.errors import MetaftError
from metaft.files import require_place, write_atomically
from metaft.preferences.feedback.judge import Pair
from metaft.preferences.feedback.portions import unfinished_of
from metaft.preferences.feedback.revision import Revised

ENDING = ".jsonl"
DIGITS = 6
Row = Mapping[str, object]


def require_file(out: str | Path, overwrite: bool, resume: bool = False) -> Path:
    """Refuse a file that cannot be written, before any work.

    Args:
        out: the file.
        overwrite: whether one that is there may be replaced.
        resume: whether unfinished work is gone on with.

    Returns:
        Its path.

    Raises:
        MetaftError: if it is no ``.jsonl``, is there already, or cannot be made.
    """
    path = Path(out)
    if path.suffix != ENDING:
        raise MetaftError(f"out = {out}: rows of JSON are written; give it a name that ends with {ENDING}")
    require_place("--out", path)
    if overwrite and resume:
        raise MetaftError("--resume goes on and --overwrite begins anew; give one of them")
    if unfinished_of(path).exists() and not (overwrite or resume):
        raise MetaftError(f"{path} is unfinished; go on with --resume, or begin anew with --overwrite")
    for file in (path, record_of(path)):
        if file.exists() and not (overwrite or resume):
            raise MetaftError(f"{file} is there already; give another --out, or --overwrite")
    return path


def record_of(path: Path) -> Path:
    """The file beside rows that says how they were made."""
    return path.with_suffix(".json")


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """Write rows, all at once or not at all.

    Args:
        path: the file.
        rows: plain values by name.

    Raises:
        MetaftError: if it cannot be written.
    """
    write_atomically(
        path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode("utf-8", "replace")
    )


def label_row(pair: Pair, first: Sequence[Sequence[float]], labelled: bool, offensive: bool) -> Row:
    """A labelled pair.

    Args:
        pair: a prompt and two answers.
        first: ``[principles, 2]``, the probability that the first is the better one, as of `Verdicts`.
        labelled: whether people said that it is.
        offensive: whether it is not to be shown.

    Returns:
        The answer that the judge takes as ``chosen``, the other as ``rejected``, how probable it is that this is right,
        the same in both orders by principle, and whether people agree.
    """
    prompt, *answers = pair
    flat = [value for both in first for value in both]
    mean = sum(flat) / len(flat)
    kept = mean >= 0.5
    chosen, rejected = answers if kept else reversed(answers)
    turned = [[round(value if kept else 1 - value, DIGITS) for value in both] for both in first]
    row: dict[str, object] = {"prompt": told(prompt), "chosen": chosen, "rejected": rejected}
    row |= {PROBABILITY: round(max(mean, 1 - mean), DIGITS), "orders": turned}
    return row | ({"people_agree": kept} if labelled else {}) | ({OFFENSIVE: True} if offensive else {})


def revised_row(revised: Revised, offensive: bool) -> Row:
    """A prompt with its revised answer.

    Args:
        revised: how it came about.
        offensive: whether it is not to be shown.

    Returns:
        Prompt, answer, and all steps.
    """
    row = {"prompt": told(revised.prompt), "answer": revised.answer, "steps": [asdict(one) for one in revised.steps]}
    return row | ({OFFENSIVE: True} if offensive else {})


def told(prompt: Prompt) -> object:
    """A prompt as a text, or as turns where there are several."""
    if len(prompt) == 1 and prompt[0].role == "user":
        return prompt[0].text
    return [{"role": turn.role, "content": turn.text} for turn in prompt]
