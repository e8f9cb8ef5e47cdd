"""Regression tasks from a table: one group of rows, one task."""

from __future__ import annotations

import json
from collections.abc import Container, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from metaft.data.class_lists import ClassLists, by_seed
from metaft.data.csv_table import Table, read_table
from metaft.data.folder_layout import WAY_OUT
from metaft.data.notes import counted, say
from metaft.data.split_names import meanings
from metaft.data.splits import ALL, SPLITS, check_split
from metaft.errors import MetaftError
from metaft.runs.reading import number, read_json
from metaft.seeds import require_seed
from metaft.tasks.batch import TaskBatch
from metaft.tasks.episodes import distinct
from metaft.tasks.family import Kind
from metaft.tasks.random import generator
from metaft.validate import require_count

COLUMNS = "columns.json"
"""In a run directory: the columns it was trained on, and how they were scaled."""


@dataclass(frozen=True)
class Columns:
    """Columns of a table, and how they were scaled: a value v is given as (v − mean) / deviation.

    Args:
        features: their names, in order.
        targets: likewise.
        means: of features, then targets; zeros where nothing was scaled.
        deviations: likewise; ones.
    """

    features: tuple[str, ...]
    targets: tuple[str, ...]
    means: tuple[float, ...]
    deviations: tuple[float, ...]

    @classmethod
    def read(cls, folder: str | Path) -> Columns:
        """Those of a run.

        Args:
            folder: the run directory.

        Raises:
            MetaftError: if it has none, or they are damaged.
        """
        told = read_json(Path(folder) / COLUMNS)
        names = [told.get(name) for name in ("features", "targets")]
        numbers = [told.get(name) for name in ("means", "deviations")]
        whole = all(isinstance(own, list) and all(isinstance(one, str) for one in own) for own in names)
        sound = all(isinstance(own, list) and all(number(one) is not None for one in own) for own in numbers)
        if not whole or not sound or {sum(map(len, names))} != set(map(len, numbers)):  # type: ignore[arg-type]
            raise MetaftError(f"{Path(folder) / COLUMNS} is damaged: it does not say which columns the run reads")
        return cls(*(tuple(own) for own in (*names, *numbers)))  # type: ignore[arg-type]


@dataclass(frozen=True)
class GroupTasks:
    """Few-shot regression over groups of rows; support and query rows of a task are disjoint.

    Args:
        x: float32 ``[rows, features]``, the rows of a group lying side by side.
        y: float32 ``[rows, targets]``.
        counts: int64 ``[groups]``, rows a group.
        names: one a group.
        shots: support rows a task.
        queries: query rows a task.
        seed: which sequence of tasks.
        split: the split's name; it also separates the random streams of splits.
        details: what else identifies the data, JSON-able.
        columns: what the numbers are, for those who use what is trained on them; None if nobody says it.

    Raises:
        MetaftError: naming a group with too few rows.
    """

    x: NDArray[np.float32] = field(repr=False, compare=False)
    y: NDArray[np.float32] = field(repr=False, compare=False)
    counts: NDArray[np.int64] = field(repr=False, compare=False)
    names: tuple[str, ...] = field(repr=False)
    shots: int = 10
    queries: int = 10
    seed: int = 0
    split: str = "train"
    details: Mapping[str, object] = field(default_factory=dict, hash=False)
    columns: Columns | None = field(default=None, repr=False, compare=False)
    kind: ClassVar[Kind] = "regression"

    def __post_init__(self) -> None:
        require_seed(self.seed)
        require_count(self.shots, "shots", 1)
        require_count(self.queries, "queries", 1)
        smallest = int(self.counts.argmin())
        if self.counts[smallest] < self.shots + self.queries:
            raise MetaftError(
                f"group {self.names[smallest]!r} has {self.counts[smallest]} rows, but {self.shots} shots + "
                f"{self.queries} queries need {self.shots + self.queries}: ask for fewer, or leave such groups out "
                f"(--min-examples {self.shots + self.queries})"
            )

    @property
    def outputs(self) -> int:
        """How many target columns there are."""
        return self.y.shape[1]

    @property
    def input_shape(self) -> tuple[int, ...]:
        """``(features,)``."""
        return (self.x.shape[1],)

    def batch(self, index: int, tasks: int) -> TaskBatch:
        """Draw the index-th batch: a group for each task, then rows of it; pure in (seed, split, index, tasks).

        Args:
            index: which batch.
            tasks: how many tasks.

        Returns:
            float32 inputs ``[tasks, rows, features]`` and targets ``[tasks, rows, targets]``.
        """
        draw = generator(self.seed, f"table/{self.split}", index)
        group = draw.integers(0, len(self.counts), tasks)
        rows = distinct(draw, tasks, self.counts[group], self.shots + self.queries)
        rows += (self.counts.cumsum() - self.counts)[group, None]
        x, y, s = torch.from_numpy(self.x[rows]), torch.from_numpy(self.y[rows]), self.shots
        return TaskBatch(x[:, :s], y[:, :s], x[:, s:], y[:, s:])

    @property
    def run_files(self) -> dict[str, str]:
        """What a run that is trained on them keeps beside its weights: name → text."""
        return {} if self.columns is None else {COLUMNS: json.dumps(asdict(self.columns), indent=1)}

    def describe(self) -> dict[str, object]:
        """The settings that identify this family."""
        return {
            **self.details,
            "family": "table",
            "dataset": "table",
            "split": self.split,
            "groups": len(self.names),
            "shots": self.shots,
            "queries": self.queries,
            "seed": self.seed,
        }


def table(
    path: str | Path,
    *,
    group: str,
    target: str | Sequence[str],
    features: str | Sequence[str] | None = None,
    shots: int = 10,
    queries: int = 10,
    seed: int = 0,
    split: str = "train",
    split_column: str | None = None,
    split_seed: int = 0,
    min_examples: int | None = None,
    standardise: bool = True,
) -> GroupTasks:
    """Regression tasks from a CSV file with a header line: all rows with one value of ``group`` are one task.

    Groups, not rows, are divided into training, validation and test.

    Args:
        path: the file.
        group: the column that says which task a row belongs to.
        target: the column or columns to predict, a sequence or joined by commas.
        features: the columns to predict from, likewise; all others if None.
        shots: support rows a task.
        queries: query rows a task.
        seed: which sequence of tasks.
        split: "train", "val" or "test"; or "all", every group, undivided.
        split_column: a column that says "train", "val" or "test", or other usual names of theirs; if None, groups are
            divided 64 : 16 : 20.
        split_seed: of that division.
        min_examples: leave groups of fewer rows out, before anything is divided; None for none.
        standardise: give every feature and target mean 0 and standard deviation 1 over the rows of the *training*
            groups (of all, where the split is "all"); errors are then in units of the target's standard deviation
            there.

    Returns:
        The family.

    Raises:
        MetaftError: naming line and column of a value that is missing or not a number, a group in two splits, or a
            group with too few rows.
    """
    check_split(split, or_all=True)
    targets = _names("target", target)
    inputs = None if features is None else _names("features", features)
    texts = [group] + ([split_column] if split_column is not None else [])
    for name in (*targets, *(inputs or ())):
        if name in texts or (inputs is not None and name in targets and name in inputs):
            raise MetaftError(
                f"column {name!r} of {path} is given two roles of group, target, features and split column"
            )
    read = read_table(path, texts, None if inputs is None else (*inputs, *targets), targets)
    inputs = inputs or tuple(name for name in read.columns if name not in targets)
    if not inputs:
        raise MetaftError(f"{path} has no column left to predict {targets[0]!r} from")
    rows_of = _rows_of(path, read.texts[group], min_examples)
    if split == ALL:
        lists = {ALL: tuple(rows_of), "train": tuple(rows_of)}
    elif split_column:
        lists = _by_column(path, read, group, split_column, rows_of)
    else:
        lists = by_seed(list(rows_of), split_seed, f"groups of {path}", WAY_OUT)
    values = read.values
    mean, deviation = np.zeros(values.shape[1]), np.ones(values.shape[1])
    if standardise:
        # In the table's order, as sums are rounded in theirs.
        known = values[np.sort(np.concatenate([rows_of[name] for name in lists["train"]]))]
        # The deviation of a constant is a rounding error, not always 0.
        spread = np.where(np.ptp(known, axis=0) > 0, known.std(0), 0)
        mean, deviation = known.mean(0), np.where(spread > 0, spread, 1)
        values = (values - mean) / deviation
    rows = [rows_of[name] for name in lists[split]]
    order = np.concatenate(rows)
    x, y = (values[order][:, [read.columns.index(name) for name in names]] for names in (inputs, targets))
    details: dict[str, object] = {
        "digest": read.digest,
        "group": group,
        "target": ",".join(targets),
        "features": ",".join(inputs),
    }
    details |= {"split_by": split_column or f"seed {split_seed}", "standardise": standardise}
    if min_examples is not None:
        details["min_examples"] = min_examples
    counts = np.array([len(one) for one in rows])
    places = [read.columns.index(name) for name in (*inputs, *targets)]
    scaled = tuple(tuple(own[places].tolist()) for own in (mean, deviation))
    columns = Columns(tuple(inputs), targets, *scaled)
    values_of = x.astype(np.float32), y.astype(np.float32)
    return GroupTasks(*values_of, counts, lists[split], shots, queries, seed, split, details, columns)


def _names(what: str, given: str | Sequence[str]) -> tuple[str, ...]:
    names = tuple(name.strip() for name in (given.split(",") if isinstance(given, str) else given))
    if not names or "" in names or len(set(names)) < len(names):
        raise MetaftError(f"{what} = {given!r}: expected different column names, joined by commas")
    return names


def _rows_of(path: str | Path, owner: Sequence[str], least: int | None) -> dict[str, NDArray[np.int64]]:
    """Group → its rows, in the table's order; groups in that of their names."""
    names, inverse, counts = np.unique(np.array(owner), return_inverse=True, return_counts=True)
    rows = np.split(np.argsort(inverse, kind="stable"), counts.cumsum()[:-1])
    found = dict(zip(map(str, names), rows, strict=True))
    if least is None:
        return found
    small = [name for name, own in found.items() if len(own) < least]
    if small:
        say(
            f"{path}: {counted(len(small), 'group')} of {len(found)} left out, having fewer than {least} rows, such as "
            f"{small[0]!r}"
        )
    if len(small) == len(found):
        raise MetaftError(f"{path}: no group has {least} rows; choose a smaller min_examples")
    return {name: own for name, own in found.items() if len(own) >= least}


def _by_column(path: str | Path, read: Table, group: str, column: str, kept: Container[str]) -> ClassLists:
    """The groups of each split, where a column says so."""
    said: dict[str, str] = {}
    meant = meanings(dict.fromkeys(read.texts[column]))
    for name, word, line in zip(read.texts[group], read.texts[column], read.lines, strict=True):
        split = meant.get(word)
        if split is None:
            raise MetaftError(f"{path}, line {line}: column {column!r} is {word!r}; expected {', '.join(SPLITS)}")
        if said.setdefault(name, split) != split:
            raise MetaftError(
                f"{path}, line {line}: group {name!r} is in both {said[name]} and {split}; a group belongs to one split"
            )
    if any(word != split for word, split in meant.items()):
        say(f"{path}: column {column!r}: taken {', '.join(f'{word!r} for {split}' for word, split in meant.items())}")
    lists = {split: tuple(sorted(n for n, own in said.items() if own == split and n in kept)) for split in SPLITS}
    empty = next((split for split, names in lists.items() if not names), None)
    if empty is not None:
        raise MetaftError(f"{path}: column {column!r} gives no group to {empty}")
    return lists
