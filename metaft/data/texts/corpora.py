"""Plain texts to pretrain on, document by document: found under the data root, or the user's own."""

from __future__ import annotations

import os
import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

from metaft.data.folder_files import FileKind, files_below, say_passed_over
from metaft.data.split_names import splits_among
from metaft.data.text import decoded
from metaft.data.texts import reading
from metaft.errors import MetaftError, nearest

SPLITS = ("train", "val")
ALL = "all"
"""All corpora of the table."""
EVERY = 25
"""Where nothing says which documents are for validation, every so many-th is."""
TRAINED = 0.95
"""The share of a single document that is trained on; the rest is for validation."""
KINDS = (".txt", ".jsonl")
"""Endings of files that are read, packed as ``.gz`` or not."""
TEXT_FILES = FileKind("text", lambda name: reading.kind(Path(name)) in KINDS)


@dataclass(frozen=True)
class Document:
    """A text that belongs together: a chapter, a section, a story.

    Args:
        id: tells it from others of its corpus.
        title: may be empty.
        paragraphs: in order, none of them empty.
    """

    id: str
    title: str
    paragraphs: tuple[str, ...]


@dataclass(frozen=True)
class Corpus:
    """One corpus under the data root.

    Args:
        name: as it is asked for.
        description: one line.
        counts: how much there is, in words.
        licence: and whose.
        train: its file below a data root.
        val: its file for validation; None where it is a part of ``train``.
    """

    name: str
    description: str
    counts: str
    licence: str
    train: str
    val: str | None = None

    @property
    def files(self) -> tuple[str, ...]:
        """All of its files, below a data root."""
        return (self.train,) if self.val is None else (self.train, self.val)

    def where(self, root: str | Path | None) -> str | None:
        """The folder in which it lies, in words; None where it is not found."""
        base = reading.place(self.name, self.files, root)
        return None if base is None else str((base / self.train).parent)

    def load(self, split: str, root: str | Path | None) -> tuple[Document, ...]:
        """As the function `load`, of this corpus."""
        base = reading.require_place(f"corpus {self.name}", self.files, root)
        if self.val is None:
            return _divided(_read(base / self.train), split, base / self.train)
        return _read(base / (self.train if split == "train" else self.val))


CORPORA = {
    corpus.name: corpus
    for corpus in (
        Corpus(
            name="openstax",
            description="11 textbooks of today, from history to astronomy, a section a document",
            counts="1,586 + 65 documents, 3,098,306 + 136,759 words (train + val)",
            licence="CC BY 4.0 (OpenStax, Rice University); access for free at openstax.org",
            train="openstax/train.jsonl.gz",
            val="openstax/valid.jsonl.gz",
        ),
        Corpus(
            name="eltec",
            description="53 English novels of 1880 to 1920 (ELTeC), a chapter a document",
            counts="1,409 + 46 documents, 4,742,548 + 139,233 words (train + val)",
            licence="public domain, markup CC BY 4.0 (COST Action Distant Reading)",
            train="eltec_eng/train.jsonl.gz",
            val="eltec_eng/valid.jsonl.gz",
        ),
        Corpus(
            name="children",
            description="17 children's books and collections of tales, a chapter or tale a document",
            counts="726 + 38 documents, 1,292,127 + 61,540 words (train + val)",
            licence="public domain",
            train="children/train.jsonl.gz",
            val="children/valid.jsonl.gz",
        ),
        Corpus(
            name="tinystories",
            description="invented stories in the words of small children (Eldan & Li 2023)",
            counts="950 + 50 documents, 176,120 + 9,082 words (train + val)",
            licence="CDLA-Sharing 1.0",
            train="tinystories/train.jsonl.gz",
            val="tinystories/valid.jsonl.gz",
        ),
        Corpus(
            name="factbook",
            description="CIA World Factbook, a country or sea a document: facts more than prose",
            counts="251 + 10 documents, 1,071,834 + 49,754 words (train + val)",
            licence="public domain",
            train="factbook/countries.jsonl.gz",
        ),
        Corpus(
            name="tinyshakespeare",
            description="speeches out of Shakespeare's plays, in one document",
            counts="1 document, 192,580 + 10,071 words (train + val)",
            licence="public domain",
            train="tinyshakespeare/input.txt",
        ),
    )
}


def load(name_or_path: str | Path, split: str, root: str | Path | None = None) -> tuple[Document, ...]:
    """Load plain texts.

    A file ``.txt`` is one document, and so is each in a folder; ``.jsonl`` holds a document a line, its text under
    "text", "id" and "title" if it likes; each may be packed as ``.gz``. Blank lines part paragraphs, or the ends of
    lines where there are no blank ones. In a folder, files or folders called train and val (or other usual names) are
    these splits. Where nothing is for validation, every 25th document is, and of a single one the last 5 %.

    Args:
        name_or_path: a corpus of ``CORPORA``, "all" of them, a path, or several joined as in "openstax+children".
        split: "train" or "val".
        root: where corpora are looked for first; by default ``METAFT_DATA``, then ``./data``.

    Returns:
        The documents, in the order in which they are stored.

    Raises:
        MetaftError: if there is no such split, corpus or path, or a file cannot be read.
    """
    if split not in SPLITS:
        raise MetaftError(f"unknown split {split!r} of a corpus{nearest(str(split), SPLITS)}")
    found: list[Document] = []
    for part in _parts(name_or_path):
        found += part.load(split, root) if isinstance(part, Corpus) else _own(part, split)
    return tuple(found)


def names(asked: str) -> tuple[str, ...]:
    """The corpora that several joined ones are made of.

    Args:
        asked: as for `load`.

    Returns:
        Each alone, as `load` takes it.

    Raises:
        MetaftError: if there is no such corpus or path.
    """
    return tuple(part.name if isinstance(part, Corpus) else str(part) for part in _parts(asked))


def _parts(asked: str | Path) -> list[Corpus | Path]:
    if isinstance(asked, Path):
        return [asked.expanduser()]
    if asked == ALL:
        return list(CORPORA.values())
    names = [asked] if asked in CORPORA or os.path.exists(os.path.expanduser(asked)) else asked.split("+")
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise MetaftError(f"corpus {twice!r} is asked for twice in {asked!r}")
    return [_part(name) for name in names]


def _part(name: str) -> Corpus | Path:
    if name in CORPORA:
        return CORPORA[name]
    path = Path(name).expanduser()
    if not name or not os.path.exists(path):
        raise MetaftError(
            f"unknown corpus {name!r}{nearest(name, (*CORPORA, ALL))}; or the path of a .txt, a .jsonl or a folder"
        )
    return path


def _own(path: Path, split: str) -> tuple[Document, ...]:
    if not path.exists():
        raise MetaftError(f"{path} does not exist; expected a .txt, a .jsonl or a folder of such")
    if not path.is_dir():
        return _divided(_read(path), split, path)
    files, others = files_below(path, TEXT_FILES)
    if not files:
        raise MetaftError(f"{path} holds no text ({', '.join(KINDS)}, or these with .gz)")
    say_passed_over(path, others, TEXT_FILES)
    top = {file: file.relative_to(path).parts[0] for file in files}
    names = {file: name if path.joinpath(name).is_dir() else reading.stem(Path(name)) for file, name in top.items()}
    named = splits_among(dict.fromkeys(names.values()), path)
    if "train" not in named:
        return _divided(_all(files, path), split, path)
    own = _all([file for file in files if names[file] == named[split if "val" in named else "train"]], path)
    return own if "val" in named else _divided(own, split, path)


def _all(files: Sequence[Path], base: Path) -> tuple[Document, ...]:
    return tuple(document for file in files for document in _read(file, base))


def _read(path: Path, base: Path | None = None) -> tuple[Document, ...]:
    """The documents of one file; of a folder's, named by their place in it."""
    name = str(path.relative_to(base).with_name(reading.stem(path))) if base else reading.stem(path)
    if reading.kind(path) == ".txt":
        own = paragraphs(decoded(reading.content(path), path, "plain text"))
        if not own:
            raise MetaftError(f"{path} holds no text; remove it")
        return (Document(name, "", own),)
    if reading.kind(path) != ".jsonl":
        raise MetaftError(f"{path}: expected a file {' or '.join(KINDS)}, or one of these with .gz")
    found = tuple(
        Document(
            str(row.get("id", f"{name}/{number}")),
            str(row.get("title") or ""),
            paragraphs(reading.text_in(row, "text", path, number)),
        )
        for number, row in reading.json_lines(path)
    )
    if not found:
        raise MetaftError(f"{path} holds no document; remove it")
    return found


def paragraphs(text: str) -> tuple[str, ...]:
    """The paragraphs of a text: what blank lines part, or else its lines.

    Args:
        text: with line ends of any kind.

    Returns:
        The paragraphs without the space around them, none of them empty; lines within one as they are.
    """
    plain = text.replace("\r\n", "\n").replace("\r", "\n").strip()
    parts = re.split(r"\n\s*\n", plain)
    return tuple(part.strip() for part in (parts if len(parts) > 1 else plain.split("\n")) if part.strip())


def _divided(documents: tuple[Document, ...], split: str, where: Path) -> tuple[Document, ...]:
    if len(documents) == 1:
        return (_cut(documents[0], split, where),)
    every = min(EVERY, len(documents))
    return tuple(d for place, d in enumerate(documents, start=1) if (place % every == 0) == (split == "val"))


def _cut(document: Document, split: str, where: Path) -> Document:
    ends = list(accumulate(map(len, document.paragraphs)))
    if len(ends) < 2:
        raise MetaftError(f"{where} has one paragraph, so no part is left for validation; blank lines part paragraphs")
    place = max(1, bisect_right(ends, TRAINED * ends[-1]))
    kept = document.paragraphs[:place] if split == "train" else document.paragraphs[place:]
    return Document(document.id, document.title, kept)
