"""Answer a user's queries by a user's support set: with a run, or any learner, on images, texts or rows."""

from __future__ import annotations

import csv
import dataclasses
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from metaft.commands.predict.examples import Examples, Wanted, kind_at, queries, support_set
from metaft.data import decode
from metaft.errors import MetaftError
from metaft.estimator import saved
from metaft.estimator.estimator import FewShotClassifier, FewShotRegressor
from metaft.estimator.inputs import Inputs
from metaft.estimator.load import load
from metaft.estimator.numbers import NumberInputs
from metaft.estimator.source import Reading, Source, open_source
from metaft.evaluation.answer_picture import SIDE, Shown, answer_figure
from metaft.evaluation.style import save
from metaft.files import folder_path, require_place, write_atomically


@dataclass(frozen=True)
class Answers:
    """What a learner said.

    Args:
        learner: in one line.
        transductive: whether an answer depends on the other queries.
        kind: of the inputs.
        queries: what each is called.
        answers: of each query, a class or values ``[queries, targets]``.
        probabilities: ``[queries, classes]``; None for a regression.
        nearest: the support example nearest to each, with its class; empty where it is not known.
        labels: of each query, empty where nothing says it; values of a regression; None if nothing says any.
        classes: the labels of the support set, in order, or the targets.
    """

    learner: str
    transductive: bool
    kind: str
    queries: list[str]
    answers: np.ndarray
    probabilities: np.ndarray | None
    nearest: list[str]
    labels: Any
    classes: list[str]

    @property
    def labelled(self) -> int:
        """How many queries say what they are."""
        if self.labels is None:
            return 0
        return len(self.labels) if self.probabilities is None else sum(map(bool, self.labels))

    @property
    def right(self) -> int:
        """How many of those are answered rightly."""
        return sum(bool(label) and label == answer for label, answer in zip(self.labels, self.answers, strict=True))

    @property
    def error(self) -> float:
        """The mean squared error of a regression, in the units of its targets squared."""
        return float(np.mean((np.asarray(self.labels) - self.answers) ** 2))


def predict(
    learner: str,
    support: str | Path | None,
    query: str | Path,
    *,
    csv_file: str | Path | None = None,
    picture: str | Path | None = None,
    save_to: str | Path | None = None,
    text: str = "text",
    label: str = "label",
    target: str | None = None,
    features: str | None = None,
    encoding: str | None = None,
    **reading: Any,
) -> Answers:
    """Answer queries, and write what was asked for.

    Args:
        learner: a run directory, a learner as `metaft compare` reads it, or a folder that was saved.
        support: a folder of class folders, of images or of texts (``.txt``); or a table of texts or of rows. None for
            a folder that was saved, which has its own.
        query: a file or a folder of either, with class folders or without; a file of texts, one a line; or a table.
        csv_file: where to write all answers, with the probability of each class.
        picture: where to draw image queries with their answers, PNG.
        save_to: new folder, to save the learner with its support set.
        text: the column of a table's texts.
        label: the column of a table's classes.
        target: the columns of values, joined by commas, for a regression.
        features: the columns to predict from, likewise; all others if None.
        encoding: of text files.
        reading: ``image_size``, ``colours``, ``ink`` (see `metaft.load`); None means not given.

    Returns:
        The answers.

    Raises:
        MetaftError: for what cannot be read, or a support set that the learner cannot take, before anything is written.
    """
    require_place("--csv", csv_file)
    require_place("--picture", picture)
    if save_to is not None:
        folder_path(save_to, "--save")
    if picture is not None and Path(picture).suffix.lower() != ".png":
        raise MetaftError(f"--picture {picture}: pictures are written as PNG; give it the ending .png")
    how = {name: value for name, value in reading.items() if value is not None}
    query_path = Path(os.path.expanduser(query))
    made, shown, wanted, kind = fitted(
        learner, support, query_path, text=text, label=label, target=target, features=features, encoding=encoding, **how
    )
    classes = [] if isinstance(made, FewShotRegressor) else [str(name) for name in made.classes_]
    asked = queries(query_path, kind, wanted, classes, _columns(made, shown))
    if picture is not None and kind != "images":
        raise MetaftError(f"--picture draws images, and these queries are {kind}; leave it out")
    found = _answered(made, shown, asked, classes or list(wanted.targets))
    if save_to is not None:
        made.save(save_to)
    if csv_file is not None:
        write_atomically(csv_file, _table(found).encode())
    if picture is not None:
        _draw(found, asked, shown, Path(picture))
    return found


def fitted(
    learner: str,
    support: str | Path | None,
    query: Path | None = None,
    *,
    text: str = "text",
    label: str = "label",
    target: str | None = None,
    features: str | None = None,
    encoding: str | None = None,
    **reading: Any,
) -> tuple[FewShotClassifier | FewShotRegressor, Examples | None, Wanted, str]:
    """A learner that has taken a support set from the disk.

    Args:
        learner: as for `predict`, and so are all others.
        support: likewise.
        query: what it is to be asked about, which has to be of the same kind; None where that is not known yet.
        text: likewise.
        label: likewise.
        target: likewise.
        features: likewise.
        encoding: likewise.
        reading: likewise.

    Returns:
        The estimator, the support set (None for one that was saved with the learner), where tables have what, and the
        kind of inputs.

    Raises:
        MetaftError: as `predict`.
    """
    how = {name: value for name, value in reading.items() if value is not None}
    source = saved.source(learner) if saved.is_saved(learner) else open_source(learner)
    kind = _kind(source, learner, query, support)
    wanted = Wanted(text, label, _names(target), _names(features) or None, encoding)
    if source.config is not None and kind == "numbers":
        wanted = _by_columns(wanted, source.inputs(None, Reading()))
    made, shown = _fitted(learner, source, support, kind, wanted, how)
    return made, shown, wanted, kind


def _kind(source: Source, learner: str, query: Path | None, support: str | Path | None) -> str:
    """What is read: as the learner says, and as the files are."""
    wants = source.reads
    for path in (None if support is None else Path(os.path.expanduser(support)), query):
        there = None if path is None else kind_at(path)
        if there is not None and wants not in (None, there):
            own = "rows of a CSV file" if wants == "numbers" else wants
            raise MetaftError(f"{learner} reads {own}, and {path} holds {there}")
        wants = wants or there
    return wants or "numbers"


def _names(given: str | None) -> tuple[str, ...]:
    return tuple(name.strip() for name in given.split(",") if name.strip()) if given else ()


def _fitted(
    learner: str, source: Source, support: str | Path | None, kind: str, wanted: Wanted, how: dict[str, Any]
) -> tuple[FewShotClassifier | FewShotRegressor, Examples | None]:
    """The estimator that has taken the support set, and that set."""
    if support is None:
        if not saved.is_saved(learner):
            raise MetaftError(f"{learner} needs a support set: give --support, a folder of class folders or a table")
        return load(learner, **how), None
    if saved.is_saved(learner):
        raise MetaftError(f"{learner} was saved with its support set; leave --support out")
    if wanted.targets and kind != "numbers":
        raise MetaftError(f"--target names columns of a table of numbers, and {support} holds {kind}; leave it out")
    made = load(learner, kind="regression" if wanted.targets and source.kind is None else None, **how)
    if isinstance(made, FewShotRegressor) and not wanted.targets:
        raise MetaftError(f"{learner} predicts values: name their column in the tables with --target")
    if isinstance(made, FewShotClassifier) and wanted.targets:
        raise MetaftError(f"{learner} tells classes apart; leave --target out, and name their column with --label")
    shown = support_set(Path(os.path.expanduser(support)), kind, wanted)
    return made.fit(shown.given, shown.labels), shown


def _by_columns(wanted: Wanted, inputs: Inputs) -> Wanted:
    """The columns of a run on a table, which no option has to name."""
    columns = inputs.columns if isinstance(inputs, NumberInputs) else None
    if columns is None:
        return wanted
    return dataclasses.replace(wanted, targets=columns.targets, features=columns.features)


def _answered(
    made: FewShotClassifier | FewShotRegressor, shown: Examples | None, asked: Examples, classes: list[str]
) -> Answers:
    probabilities = None
    if isinstance(made, FewShotClassifier):
        answers, probabilities = made.answer(asked.given)
        answers = np.array([str(answer) for answer in answers], dtype=object)
    else:
        answers = made.predict(asked.given).reshape(len(asked.names), -1)
    rows = made.nearest_support(asked.given)
    nearest = [] if rows is None else [_support_name(made, shown, int(row)) for row in rows]
    told = made.transductive, asked.kind, asked.names, answers, probabilities, nearest, asked.labels, classes
    return Answers(repr(made), *told)


def _support_name(made: FewShotClassifier | FewShotRegressor, shown: Examples | None, row: int) -> str:
    name = f"number {row + 1}" if shown is None else shown.names[row]
    if isinstance(made, FewShotRegressor) or (shown is not None and shown.kind == "images"):
        return name  # whose folder says its class
    return f"{name} ({made.classes_[int(made.support_y_[row])]})"


def _columns(made: FewShotClassifier | FewShotRegressor, shown: Examples | None) -> tuple[str, ...]:
    if shown is not None:
        return shown.columns
    columns = made.inputs_.columns if isinstance(made.inputs_, NumberInputs) else None
    return () if columns is None else columns.features


def _table(found: Answers) -> str:
    """All answers as CSV."""
    page = io.StringIO()
    write = csv.writer(page, lineterminator="\n")
    if found.probabilities is None:
        heads = ["query", *found.classes, "nearest"]
        heads += [f"given {name}" for name in found.classes] if found.labels is not None else []
        write.writerow(heads)
        for number, name in enumerate(found.queries):
            given = [] if found.labels is None else found.labels[number].tolist()
            write.writerow([name, *found.answers[number].tolist(), _at(found.nearest, number), *given])
        return page.getvalue()
    labels = [] if found.labels is None else ["label"]
    write.writerow(["query", "answer", "probability", "nearest", *labels, *(f"p({name})" for name in found.classes)])
    for number, name in enumerate(found.queries):
        each = [f"{value:.6f}" for value in found.probabilities[number]]
        given = [] if found.labels is None else [found.labels[number]]
        best = f"{found.probabilities[number].max():.6f}"
        write.writerow([name, found.answers[number], best, _at(found.nearest, number), *given, *each])
    return page.getvalue()


def _at(names: Sequence[str], number: int) -> str:
    return names[number] if names else ""


def _draw(found: Answers, asked: Examples, shown: Examples | None, file: Path) -> None:
    """The picture of the queries."""
    assert found.probabilities is not None
    best = found.probabilities.max(1).tolist()
    labels = found.labels or [""] * len(best)
    pictures = decode.decode(asked.given, SIDE).permute(0, 2, 3, 1).numpy()
    drawn = [Shown(*one) for one in zip(pictures, found.answers.tolist(), best, labels, strict=True)]
    support: dict[str, list[np.ndarray]] = {}
    if shown is not None:
        of_support = decode.decode(shown.given, SIDE).permute(0, 2, 3, 1).numpy()
        for picture, name in zip(of_support, shown.labels, strict=True):
            support.setdefault(name, []).append(picture)
    save(answer_figure(drawn, support), file)
