"""Regression tasks from a table: one group of rows, one task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from metaft.data.class_lists import ClassLists, by_seed
from metaft.data.csv_table import Table, read_table
from metaft.data.splits import SPLITS, check_split
from metaft.errors import MetaftError, nearest
from metaft.seeds import require_seed
from metaft.tasks.batch import TaskBatch
from metaft.tasks.episodes import distinct
from metaft.tasks.family import Kind
from metaft.tasks.random import generator


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
    kind: ClassVar[Kind] = "regression"

    def __post_init__(self) -> None:
        require_seed(self.seed)
        if self.shots < 1 or self.queries < 1:
            raise MetaftError(f"shots and queries must be at least 1, not shots={self.shots}, queries={self.queries}")
        smallest = int(self.counts.argmin())
        if self.counts[smallest] < self.shots + self.queries:
            raise MetaftError(
                f"group {self.names[smallest]!r} has {self.counts[smallest]} rows, but {self.shots} shots + "
                f"{self.queries} queries need {self.shots + self.queries}: ask for fewer, or leave the group out"
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
        split: "train", "val" or "test".
        split_column: a column that says "train", "val" or "test"; if None, groups are divided 64 : 16 : 20.
        split_seed: of that division.
        standardise: give every feature and target mean 0 and standard deviation 1 over the rows of the *training*
            groups; errors are then in units of the target's standard deviation there.

    Returns:
        The family.

    Raises:
        MetaftError: naming line and column of a value that is missing or not a number, a group in two splits, or a
            group with too few rows.
    """
    check_split(split)
    targets = _names("target", target)
    inputs = None if features is None else _names("features", features)
    texts = [group] + ([split_column] if split_column is not None else [])
    for name in (*targets, *(inputs or ())):
        if name in texts or (inputs is not None and name in targets and name in inputs):
            raise MetaftError(
                f"column {name!r} of {path} is given two roles of group, target, features and split column"
            )
    read = read_table(path, texts, None if inputs is None else (*inputs, *targets))
    missing = next((name for name in targets if name not in read.columns), None)
    if missing is not None:
        raise MetaftError(f"{path} has no column {missing!r}{nearest(missing, read.columns)}")
    inputs = inputs or tuple(name for name in read.columns if name not in targets)
    if not inputs:
        raise MetaftError(f"{path} has no column left to predict {targets[0]!r} from")
    owner = np.array(read.texts[group])
    split_of = _by_column(path, read, group, split_column) if split_column else _by_seed(path, owner, split_seed)
    values = read.values
    if standardise:
        known = values[np.isin(owner, split_of["train"])]
        spread = known.std(0)
        values = (values - known.mean(0)) / np.where(spread > 0, spread, 1)
    rows = [np.flatnonzero(owner == name) for name in split_of[split]]
    order = np.concatenate(rows)
    x, y = (values[order][:, [read.columns.index(name) for name in names]] for names in (inputs, targets))
    details: dict[str, object] = {
        "digest": read.digest,
        "group": group,
        "target": ",".join(targets),
        "features": ",".join(inputs),
    }
    details |= {"split_by": split_column or f"seed {split_seed}", "standardise": standardise}
    counts = np.array([len(one) for one in rows])
    return GroupTasks(
        x.astype(np.float32), y.astype(np.float32), counts, split_of[split], shots, queries, seed, split, details
    )


def _names(what: str, given: str | Sequence[str]) -> tuple[str, ...]:
    names = tuple(name.strip() for name in (given.split(",") if isinstance(given, str) else given))
    if not names or "" in names or len(set(names)) < len(names):
        raise MetaftError(f"{what} = {given!r}: expected different column names, joined by commas")
    return names


def _by_seed(path: str | Path, owner: NDArray[np.str_], seed: int) -> ClassLists:
    return by_seed([str(name) for name in np.unique(owner)], seed, f"groups of {path}")


def _by_column(path: str | Path, read: Table, group: str, column: str) -> ClassLists:
    """The groups of each split, where a column says so."""
    said: dict[str, str] = {}
    for name, split, line in zip(read.texts[group], read.texts[column], read.lines, strict=True):
        if split not in SPLITS:
            raise MetaftError(f"{path}, line {line}: column {column!r} is {split!r}; expected {', '.join(SPLITS)}")
        if said.setdefault(name, split) != split:
            raise MetaftError(
                f"{path}, line {line}: group {name!r} is in both {said[name]} and {split}; a group belongs to one split"
            )
    lists = {split: tuple(sorted(name for name, own in said.items() if own == split)) for split in SPLITS}
    empty = next((split for split, names in lists.items() if not names), None)
    if empty is not None:
        raise MetaftError(f"{path}: column {column!r} gives no group to {empty}")
    return lists
