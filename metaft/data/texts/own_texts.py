"""Texts of the user's own: a table, or a folder of class folders with a text a file."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Literal

from metaft.data.class_lists import by_seed, list_files, require_disjoint
from metaft.data.folder_files import FileKind, files_below, files_in, kinds, say_passed_over, subfolders
from metaft.data.folder_layout import WAY_OUT, all_classes, layout, say_left_out
from metaft.data.split_names import splits_among
from metaft.data.splits import ALL, SPLITS, Division, check_split
from metaft.data.text import decoded
from metaft.data.texts import reading, text_table
from metaft.data.texts.division import as_divided, by_examples
from metaft.data.texts.labelled_texts import LabelledTexts, Text, together
from metaft.data.texts.table import TEXTS
from metaft.data.texts.text_table import Columns, Row
from metaft.errors import MetaftError, nearest
from metaft.validate import require_count

FILES = FileKind("text", lambda name: reading.kind(Path(name)) == ".txt")
EXAMPLES = "have the same classes in all splits, and the texts of each divided (scheme=examples)"
NOTHING = "{}: its classes are divided {}, so scheme = examples has nothing to divide"
BY_HAND = "say by a column 'split' what is for train, val and test"


@dataclass(frozen=True)
class How:
    """All that a user's data set can be told (see `load`)."""

    columns: Columns
    scheme: str
    split_seed: int
    min_examples: int | None


@dataclass(frozen=True)
class Parts:
    """The splits of a user's data set.

    Args:
        read: split → what reads its texts; "all" alone where it is not divided.
        divided: how, in words.
        by_seed: whether a seed divided its classes.
    """

    read: Mapping[str, Callable[[], LabelledTexts]]
    divided: str
    by_seed: bool = False


def load(
    split: str,
    *,
    root: str | Path | None = None,
    text: str = "text",
    label: str = "label",
    split_column: str | None = None,
    encoding: str | None = None,
    scheme: Literal["classes", "examples"] = "classes",
    split_seed: int = 0,
    min_examples: int | None = None,
) -> LabelledTexts:
    """Load one split of a table or folder of labelled texts.

    What is for train, val and test is said by a column, or by folders of these names (or other usual ones) with the
    class folders inside. The classes of the three are to be others; or the same in all, and where val is then absent,
    it is a fifth of train. Where nothing says, classes are divided by a seed, 64 : 16 : 20, or the texts of each.

    Args:
        split: "train", "val", "test", or "all" for all classes, undivided.
        root: a file ``.csv``, ``.tsv`` or ``.jsonl``, packed as ``.gz`` or not; or a folder of class folders with
            files ``.txt``.
        text: of a table, the column of the texts.
        label: of a table, the column of their classes.
        split_column: of a table, the column that says train, val or test; None for "split" where there is one.
        encoding: such as "latin-1"; None for UTF-8, or what a byte-order mark says.
        scheme: what is divided where nothing says it: "classes", or "examples" of each class.
        split_seed: of that division.
        min_examples: leave classes of fewer texts out, before anything is divided; None for none.

    Returns:
        The texts.

    Raises:
        MetaftError: if there is no such file or folder, it cannot be read, or too few classes are left.
    """
    check_split(split, or_all=True)
    how = _how(text, label, split_column, encoding, scheme, split_seed, min_examples)
    return _parts(root, how, undivided=split == ALL).read[split]()


def division(split: str, *, root: str | Path | None = None, **options: Any) -> Division:
    """How many classes there are in each split, for messages.

    Args:
        split: the one asked for.
        root: as for `load`.
        options: as for `load`.

    Returns:
        Split → classes, and how they were divided.
    """
    found = _parts(root, _how(**options), undivided=split == ALL)
    counts = {part: len(read().names) for part, read in found.read.items()}
    by_hand = {} if os.path.isdir(os.path.expanduser(str(root))) else {"by_hand": BY_HAND}
    return Division(counts, found.divided, found.by_seed, otherwise=EXAMPLES, **by_hand)


def _how(
    text: str = "text",
    label: str = "label",
    split_column: str | None = None,
    encoding: str | None = None,
    scheme: str = "classes",
    split_seed: int = 0,
    min_examples: int | None = None,
) -> How:
    return How(Columns(text, label, split_column, encoding), scheme, split_seed, min_examples)


def _parts(root: str | Path | None, how: How, undivided: bool) -> Parts:
    schemes = TEXTS["texts"].schemes
    if how.scheme not in schemes:
        raise MetaftError(f"unknown scheme {how.scheme!r} of texts{nearest(str(how.scheme), schemes)}")
    if how.min_examples is not None:
        require_count(how.min_examples, "min_examples", 1)
    if root is None:
        raise MetaftError(
            f"data set 'texts' needs a file ({', '.join(text_table.KINDS)}) or a folder of class folders: give it as "
            "--data-root PATH"
        )
    base = Path(os.path.expanduser(root))
    return _of_folder(base, how, undivided) if base.is_dir() else _of_table(base, how, undivided)


def _of_table(path: Path, how: How, undivided: bool) -> Parts:
    rows = _rows(path, how.columns, _stamp(path))
    if any(row.split for row in rows):
        own = {part: [row for row in rows if row.split == part] for part in SPLITS}
        read = {part: LabelledTexts.of(_by_label(found)) for part, found in own.items() if found}
        return _named(path, read, how, undivided, f"as column {how.columns.split or text_table.SPLIT!r} says")
    whole = _large_enough(LabelledTexts.of(_by_label(rows)), how)
    if undivided or how.scheme == "examples":
        return _whole(whole, how, undivided)
    names = by_seed(whole.names, how.split_seed, f"classes of {path}", f"or {EXAMPLES}; {WAY_OUT}")
    read = {part: whole.select(own) for part, own in names.items()}
    return Parts(_given(read), f"at random, 64 : 16 : 20, by split_seed = {how.split_seed}", by_seed=True)


@lru_cache(maxsize=2)
def _rows(path: Path, columns: Columns, stamp: tuple[object, ...]) -> list[Row]:
    """Read once for all splits, and again when the file has changed."""
    return text_table.read(path, columns)


def _stamp(path: Path) -> tuple[object, ...]:
    try:
        found = os.stat(path)
    except OSError as error:
        raise MetaftError(f"cannot read {path}: {error.strerror}") from None
    return os.path.abspath(path), found.st_size, found.st_mtime_ns


def _of_folder(base: Path, how: How, undivided: bool) -> Parts:
    tables = [name for name in files_in(base) if reading.kind(Path(name)) in text_table.KINDS]
    if tables and not subfolders(base):
        raise MetaftError(f"{base} is a folder of tables; give one of them as --data-root, such as {base / tables[0]}")
    divided = bool(splits_among(subfolders(base), base) or list_files(base))
    read_folders = partial(_texts_in, encoding=how.columns.encoding)
    if not divided and (undivided or how.scheme == "examples"):
        return _whole(read_folders(all_classes(base, how.min_examples, FILES)), how, undivided)
    found = layout(base, how.split_seed, how.min_examples, FILES, may_share=True)
    if how.scheme == "examples" and not found.shared:
        raise MetaftError(NOTHING.format(base, found.divided))
    if found.shared or undivided:
        parts = {part: read_folders(folders) for part, folders in found.folders.items()}
        return _named(base, parts, how, undivided, found.divided)
    read = {part: partial(read_folders, folders) for part, folders in found.folders.items()}
    return Parts(read, found.divided, found.by_seed)


def _whole(texts: LabelledTexts, how: How, undivided: bool) -> Parts:
    if undivided:
        return Parts({ALL: lambda: texts}, "all together")
    read = {part: partial(by_examples, texts, part, how.split_seed) for part in SPLITS}
    return Parts(read, "into the same classes, of other examples")


def _named(where: Path, parts: Mapping[str, LabelledTexts], how: How, undivided: bool, divided: str) -> Parts:
    """What comes divided: into other classes, or the same of other examples."""
    shared = len({frozenset(own.names) for own in parts.values()}) == 1 and {"train", "test"} <= set(parts)
    if how.scheme == "examples" and not shared:
        raise MetaftError(NOTHING.format(where, divided))
    missing = [part for part in SPLITS if part not in parts and not (shared and part == "val")]
    if missing:
        raise MetaftError(f"{where}: divided {divided}, but nothing is for {missing[0]}")
    if not shared:
        require_disjoint({part: own.names for part, own in parts.items()}, str(where))
        parts = {part: _large_enough(own, how) for part, own in parts.items()}
    if undivided:
        return Parts({ALL: lambda: together(list(parts.values()))}, "all together")
    if not shared:
        return Parts(_given(parts), divided)
    train, val, test = (parts.get(part) for part in SPLITS)
    assert train is not None
    assert test is not None
    return Parts({part: partial(as_divided, part, train, test, val, how.split_seed) for part in SPLITS}, divided)


def _given(parts: Mapping[str, LabelledTexts]) -> dict[str, Callable[[], LabelledTexts]]:
    return {part: partial(_itself, own) for part, own in parts.items()}


def _itself(texts: LabelledTexts) -> LabelledTexts:
    return texts


def _by_label(rows: list[Row]) -> dict[str, list[Text]]:
    found: dict[str, list[Text]] = {}
    for row in rows:
        found.setdefault(row.label, []).append(row.text)
    return dict(sorted(found.items()))


def _large_enough(texts: LabelledTexts, how: How) -> LabelledTexts:
    if how.min_examples is None:
        return texts
    counts = dict(zip(texts.names, texts.counts, strict=True))
    say_left_out(counts, how.min_examples, "texts")
    kept = [name for name, count in counts.items() if count >= how.min_examples]
    if not kept:
        raise MetaftError(f"no class has {how.min_examples} texts; choose a smaller min_examples")
    return texts.select(kept)


def _texts_in(folders: Mapping[str, Path], encoding: str | None) -> LabelledTexts:
    """The texts of class folders, a file each."""
    found: dict[str, list[Text]] = {}
    others: list[Path] = []
    for name, folder in folders.items():
        files, passed_over = files_below(folder, FILES)
        if not files:
            instead = f"; it holds {kinds(passed_over)}" if passed_over else ""
            raise MetaftError(
                f"class folder {folder} holds no text (.txt, .txt.gz){instead}; put texts there, remove it, or leave "
                "such classes out (--min-examples 1)"
            )
        found[name] = [_text(file, encoding) for file in files]
        others += passed_over
    if folders:
        say_passed_over(next(iter(folders.values())).parent, others, FILES)
    return LabelledTexts.of(found)


def _text(file: Path, encoding: str | None) -> str:
    text = decoded(reading.content(file), file, "plain text", encoding, text_table.OTHER_ENCODING).strip()
    if not text:
        raise MetaftError(f"{file} is empty; remove it")
    return text
