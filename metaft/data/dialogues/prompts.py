"""Prompts alone, for answers that a model writes itself: of dialogues, a file of them, or beginnings of plain texts."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from metaft.data.catalog import dataset
from metaft.data.dialogues import division, fields, rows
from metaft.data.dialogues.conversation import Prompt, Turn
from metaft.data.dialogues.load import load
from metaft.data.dialogues.sets import SETS
from metaft.data.notes import counted, say
from metaft.data.splits import ALL
from metaft.data.texts import corpora, reading
from metaft.data.texts.corpora import CORPORA
from metaft.data.texts.labelled_texts import parts_of
from metaft.data.texts.table import TEXTS
from metaft.errors import MetaftError, nearest
from metaft.validate import require_count

OWN = "texts"
"""The row of labelled texts that stands for the user's."""
FILES = (".txt", *rows.KINDS)


def prompts(
    name: str | Path, split: str, root: str | Path | None = None, seed: int = 0, words: int = 8
) -> list[Prompt]:
    """Load different prompts.

    Args:
        name: dialogues as `metaft.data.dialogues.load.load` takes them, whose answers are passed over; a ``.txt`` with
            a prompt a line; a ``.jsonl`` (``.json``, ``.csv``, ``.tsv``) with a field ``prompt``; or plain texts, a
            corpus such as "tinystories" or labelled ones such as "sst2", of which the first words are taken.
        split: "train", "val", "test" or "all". Plain texts have the splits that they come with.
        root: where data are looked for first.
        seed: of the division of all others.
        words: how many words of a plain text, by white space; shorter ones are left out.

    Returns:
        The prompts, in order, none twice; of plain texts, one turn of the user each.

    Raises:
        MetaftError: if there is no such set, path or split, a row has no prompt, or none is left.
    """
    require_count(words, "words", 1)
    division.check_split(split)
    if name in CORPORA or (name in TEXTS and name != OWN):
        return _different((_said(" ".join(one)) for one in _beginnings(str(name), split, root, words)), name)
    path = Path(name).expanduser()
    if name in SETS or not path.is_file():
        if "+" not in str(name) and name not in SETS and not os.path.exists(path):
            known = (*SETS, *CORPORA, *(one for one in TEXTS if one != OWN))
            raise MetaftError(f"unknown prompts {str(name)!r}{nearest(str(name), known)}; or a file {', '.join(FILES)}")
        return _different((one.prompt for one in load(name, split, root, seed)), name)
    found = _different(_of_file(path), name)
    if split == ALL:
        return found
    of = division.divided(found, seed, str(name))
    return [one for one, own in zip(found, of, strict=True) if own == split]


def _of_file(path: Path) -> Iterable[Prompt]:
    if reading.kind(path) == ".txt":
        return [_said(line) for line in reading.text_lines(path)]
    if reading.kind(path) not in rows.KINDS:
        raise MetaftError(f"{path}: expected a file {', '.join(FILES)}, or one of these with .gz")
    return [fields.prompt(row, f"{path}, line {line}") for line, row in rows.read(path)]


def _beginnings(name: str, split: str, root: str | Path | None, words: int) -> list[list[str]]:
    texts: Iterable[str]
    if name in CORPORA:
        own = corpora.SPLITS if split == ALL else (split,)
        texts = [one.paragraphs[0] for part in own for one in corpora.load(name, part, root)]
    else:
        info = dataset(name)
        assert info.texts is not None
        where = {"root": root} if info.takes_root else {}
        parts = info.splits if split == ALL else (split,)
        texts = [parts_of(one)[0] for part in parts for one in info.texts(part, **where).texts]
    cut = [text.split()[: words + 1] for text in texts]
    long = [one[:words] for one in cut if len(one) > words]
    if short := len(cut) - len(long):
        say(f"{name}: {counted(short, 'text')} of {len(cut):,} left out that have no more than {words} words")
    return long


def _said(text: str) -> Prompt:
    return (Turn("user", text),)


def _different(found: Iterable[Prompt], name: str | Path) -> list[Prompt]:
    once = list(dict.fromkeys(found))
    if not once:
        raise MetaftError(f"{name} holds no prompt")
    return once
