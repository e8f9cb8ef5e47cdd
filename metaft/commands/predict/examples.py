"""A user's support set and queries, read from the disk: folders of images or texts, and tables."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from metaft.data.csv_table import columns_of, read_table
from metaft.data.decode import is_image
from metaft.data.folder_files import IMAGES, FileKind, files_below, is_hidden, kinds, say_passed_over, subfolders
from metaft.data.text import decoded
from metaft.data.texts import reading, text_table
from metaft.data.texts.own_texts import FILES
from metaft.data.texts.text_table import Columns
from metaft.errors import MetaftError

KINDS = {"images": IMAGES, "texts": FILES}
"""Kind of inputs → the files of class folders."""
ENCODING = "give its encoding, --encoding {}"


@dataclass(frozen=True)
class Wanted:
    """Where to find what in tables.

    Args:
        text: the column of the texts.
        label: the column of the classes.
        targets: the columns of values, for a regression; empty for classes.
        features: the columns to predict from; None for all others.
        encoding: of text files; None for UTF-8.
    """

    text: str = "text"
    label: str = "label"
    targets: tuple[str, ...] = ()
    features: tuple[str, ...] | None = None
    encoding: str | None = None


@dataclass(frozen=True)
class Examples:
    """What was read.

    Args:
        kind: "images", "texts" or "numbers".
        given: as an estimator takes it: paths, texts, or rows.
        names: what each is called in tables: its file, its text, its line.
        labels: the class of each, empty where nothing says it; of a regression ``[examples, targets]``; None if nothing
            says any.
        columns: of rows, the names of their features.
    """

    kind: str
    given: Any
    names: list[str]
    labels: Any
    columns: tuple[str, ...] = ()


def kind_at(path: Path) -> str | None:
    """What lies at a path.

    Args:
        path: of a file or folder.

    Returns:
        "images" or "texts"; None for a table, which may hold texts or numbers.

    Raises:
        MetaftError: if there is nothing, or nothing of use.
    """
    if not path.exists():
        raise MetaftError(f"there is no file or folder {path}")
    if path.is_file():
        ending = reading.kind(path)
        if is_image(path.name) or ending == ".txt":
            return "images" if is_image(path.name) else "texts"
        if ending in text_table.KINDS:
            return None
        raise MetaftError(f"{path} is neither an image, nor a text (.txt), nor a table ({', '.join(text_table.KINDS)})")
    for kind, files in KINDS.items():
        if files_below(path, files)[0]:
            return kind
    others = files_below(path, IMAGES)[1]
    raise MetaftError(
        f"{path} holds neither images nor texts (.txt){f'; it holds {kinds(others)}' if others else ''}; a table is "
        "given by the name of its file"
    )


def support_set(path: Path, kind: str, wanted: Wanted) -> Examples:
    """Read a support set.

    Args:
        path: a folder of class folders, or a table.
        kind: "images", "texts" or "numbers".
        wanted: where to find what in a table.

    Returns:
        The examples, with the label of each.

    Raises:
        MetaftError: if a class has no example, a file cannot be read, or a column is absent.
    """
    if path.is_dir():
        _require_class_folders(path, kind)
        return _of_classes(path, subfolders(path), kind, wanted)
    if kind == "images" or reading.kind(path) == ".txt":
        raise MetaftError(f"{path} is one file; a support set is a folder of class folders, or of texts a table")
    if kind == "texts":
        rows = text_table.read(path, _columns(wanted))
        return Examples(kind, [row.text for row in rows], [row.text for row in rows], [row.label for row in rows])
    return _rows(path, wanted, None)


def queries(path: Path, kind: str, wanted: Wanted, classes: Sequence[str], columns: tuple[str, ...]) -> Examples:
    """Read queries; classes are optional.

    Args:
        path: a file, a folder, with class folders or without, or a table.
        kind: as for `support_set`.
        wanted: likewise.
        classes: that the support set has; folders of these names say what is in them.
        columns: of rows, the features of the support set.

    Returns:
        The examples; labels where they are known.

    Raises:
        MetaftError: as `support_set`, or if a class is asked for that has no support example.
    """
    if kind == "numbers":
        return _known(_rows(path, wanted, columns), classes, path)
    if path.is_dir():
        folders = subfolders(path) if kind in KINDS else {}
        named = [name for name in folders if name in classes]
        strange = [name for name in folders if name not in classes]
        if named and strange:
            raise MetaftError(
                f"{path}: class {strange[0]!r} has no support example, while {named[0]!r} has; add some, or move that "
                "folder away"
            )
        if named:
            return _of_classes(path, folders, kind, wanted)
        files, others = files_below(path, KINDS[kind])
        say_passed_over(path, others, KINDS[kind])
        return _of_files(path, files, kind, None, wanted)
    if kind == "images":
        return _of_files(path.parent, [path], kind, None, wanted)
    if reading.kind(path) == ".txt":
        texts = reading.text_lines(path, wanted.encoding)
        if not texts:
            raise MetaftError(f"{path} holds no texts; expected one a line")
        return Examples(kind, texts, texts, None)
    rows = text_table.read(path, _columns(wanted), labelled=False)
    texts, labels = [row.text for row in rows], [row.label for row in rows]
    return _known(Examples(kind, texts, texts, labels if any(labels) else None), classes, path)


def _columns(wanted: Wanted) -> Columns:
    return Columns(wanted.text, wanted.label, None, wanted.encoding)


def _require_class_folders(path: Path, kind: str) -> None:
    if subfolders(path):
        return
    raise MetaftError(
        f"{path} has no class folders; a support set is one folder a class, with its {KINDS[kind].noun}s inside"
        if kind in KINDS
        else f"{path} is a folder, and this learner reads rows of numbers; give a CSV file"
    )


def _of_classes(base: Path, folders: dict[str, Path], kind: str, wanted: Wanted) -> Examples:
    """The files of class folders."""
    if kind not in KINDS:
        raise MetaftError(f"{base} is a folder, and this learner reads rows of numbers; give a CSV file")
    noun = KINDS[kind].noun
    found: list[Path] = []
    labels: list[str] = []
    passed_over: list[Path] = []
    for name, folder in folders.items():
        files, others = files_below(folder, KINDS[kind])
        if not files:
            instead = f"; it holds {kinds(others)}" if others else ""
            raise MetaftError(
                f"class {name!r} has no {noun}: {folder} is empty of them{instead}; add some, or remove it"
            )
        found += files
        labels += [name] * len(files)
        passed_over += others
    loose = [file for file in _loose(base, KINDS[kind]) if file not in found]
    say_passed_over(base, passed_over + loose, FileKind(f"{noun} of a class", KINDS[kind].wanted))
    return _of_files(base, found, kind, labels, wanted)


def _loose(base: Path, kind: FileKind) -> list[Path]:
    """Files beside the class folders."""
    names = sorted(name for name in os.listdir(base) if not is_hidden(name) and kind.wanted(name))
    return [base / name for name in names if (base / name).is_file()]


def _of_files(base: Path, files: list[Path], kind: str, labels: list[str] | None, wanted: Wanted) -> Examples:
    names = [file.relative_to(base).as_posix() for file in files]
    if kind == "images":
        return Examples(kind, files, names, labels)
    texts = []
    for file in files:
        text = decoded(reading.content(file), file, "plain text", wanted.encoding, ENCODING).strip()
        if not text:
            raise MetaftError(f"{file} is empty; remove it")
        texts.append(text)
    return Examples(kind, texts, names, labels)


def _rows(path: Path, wanted: Wanted, columns: tuple[str, ...] | None) -> Examples:
    """Rows of a table; with the columns known, labels and targets are optional."""
    if path.is_dir() or reading.kind(path) != ".csv":
        raise MetaftError(f"{path}: rows of numbers are read from a CSV file, with the names of its columns first")
    there = columns_of(path)
    targets = wanted.targets
    if columns is not None and not set(targets) <= set(there):
        targets = ()
    has_label = not wanted.targets and (columns is None or wanted.label in there)
    if columns is None and has_label and wanted.label not in there:
        raise MetaftError(
            f"{path} has no column {wanted.label!r} (columns: {', '.join(filter(None, there))}); name the one that "
            "says the class with --label, or values to predict with --target"
        )
    texts = [wanted.label] if has_label else []
    features = columns or wanted.features
    read = read_table(path, texts, None if features is None else (*features, *targets), targets)
    taken = features or tuple(name for name in read.columns if name not in targets)
    if not taken:
        raise MetaftError(f"{path} has no column left to predict from")
    of = lambda names: read.values[:, [read.columns.index(name) for name in names]]
    labels: Any = read.texts[wanted.label] if has_label else of(targets) if targets else None
    return Examples("numbers", of(taken), [f"line {line}" for line in read.lines], labels, tuple(taken))


def _known(found: Examples, classes: Sequence[str], path: Path) -> Examples:
    """Refuse labels of classes without support examples."""
    if found.labels is None or isinstance(found.labels, np.ndarray):
        return found
    strange = next((label for label in found.labels if label and label not in classes), None)
    if strange is not None:
        raise MetaftError(
            f"{path} asks for class {strange!r}, of which the support set has no example; it has "
            f"{', '.join(classes[:8])}{', …' if len(classes) > 8 else ''}"
        )
    return found
