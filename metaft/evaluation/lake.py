"""The one-shot benchmark of Lake et al. 2015: 20 runs of 20-way 1-shot classification within an alphabet."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from metaft.data.archive import Files, check_size, open_files, shrink
from metaft.data.images import as_numbers
from metaft.data.text import decoded, lines
from metaft.errors import MetaftError
from metaft.tasks.batch import TaskBatch

RUNS = 20
WAYS = 20
LABELS = "class_labels.txt"


def read_runs(path: str | Path, size: int = 28) -> TaskBatch:
    """Read the benchmark's runs as one batch of tasks.

    Each ``runNN`` holds ``training/class01.png`` to ``class20.png`` (the support set: label = number − 1),
    ``test/item01.png`` to ``item20.png`` (the query set) and ``class_labels.txt`` with a line
    ``run01/test/item01.png run01/training/class08.png`` for each item; every class has one item.

    Args:
        path: the folder that holds ``run01`` to ``run20``, or the zip of it; one folder around them, such as
            ``all_runs``, is allowed in both.
        size: side of the images in pixels; prepared like those of :func:`metaft.data.omniglot.load`.

    Returns:
        float32 images in [0, 1], 1 = ink, ``[20 runs, 20, 1, size, size]``, with int64 labels ``[20, 20]``,
        for support and query alike.

    Raises:
        MetaftError: naming the file or line that is missing, surplus, given twice, unknown or unreadable.

    Lake, Salakhutdinov, Tenenbaum: Human-level concept learning through probabilistic program induction,
    Science 350 (2015), "one-shot classification".
    """
    check_size(size)
    with open_files(Path(path).expanduser()) as files:
        top = _top(files)
        _check_names(files, top)
        runs = [f"run{run:02d}" for run in range(1, RUNS + 1)]
        support = torch.stack([_images(files, top, _support(run), size) for run in runs])
        query = torch.stack([_images(files, top, _query(run), size) for run in runs])
        labels = torch.stack([_labels(files, top, run) for run in runs])
    return TaskBatch(support, torch.arange(WAYS).repeat(RUNS, 1), query, labels)


def _support(run: str) -> list[str]:
    return [f"{run}/training/class{i:02d}.png" for i in range(1, WAYS + 1)]


def _query(run: str) -> list[str]:
    return [f"{run}/test/item{i:02d}.png" for i in range(1, WAYS + 1)]


def _top(files: Files) -> str:
    """What stands before ``runNN`` in the files' names: nothing, or one folder with its slash."""
    tops = sorted({m[1] for name in files.names if (m := re.match(r"((?:[^/]+/)?)run\d+/", name))})
    if not tops:
        raise MetaftError(f"{files.path} holds no folder run01: expected run01 to run{RUNS:02d}")
    if len(tops) > 1:
        raise MetaftError(f"{files.path} holds runs in two places, {tops[0] or './'} and {tops[1]}: keep one")
    return tops[0]


def _check_names(files: Files, top: str) -> None:
    """Refuse missing and surplus files of the runs; what lies beside them (a read-me) does not matter."""
    found = {name.removeprefix(top) for name in files.names if name.startswith(top)}
    found = {name for name in found if name.startswith("run") and "/" in name}
    runs = [f"run{run:02d}" for run in range(1, RUNS + 1)]
    expected = [file for run in runs for file in (*_support(run), *_query(run), f"{run}/{LABELS}")]
    for name in expected:
        if name not in found:
            raise MetaftError(f"{files.path}: {top}{name} is missing; fetch the benchmark again")
    if surplus := sorted(found - set(expected)):
        raise MetaftError(f"{files.path}: {top}{surplus[0]} does not belong to the benchmark; remove it")


def _images(files: Files, top: str, names: list[str], size: int) -> Tensor:
    ink = np.stack([files.ink(top + name) for name in names])
    return as_numbers(shrink(ink, size))


def _labels(files: Files, top: str, run: str) -> Tensor:
    """Read which class each item belongs to: ``int64 [20]``, in the order of the items."""
    where = f"{files.path}: {top}{run}/{LABELS}"
    text = decoded(files.read(f"{top}{run}/{LABELS}"), where, "a line 'item class' for each item")
    items = {name: i for i, name in enumerate(_query(run))}
    classes = {name: i for i, name in enumerate(_support(run))}
    labels: dict[int, int] = {}
    for number, line in enumerate(lines(text), start=1):
        words = line.split()
        if not words:
            continue
        if len(words) != 2:
            raise MetaftError(f"{where} line {number}: expected 'item class', got {line.strip()[:80]!r}")
        for word, known, kind in ((words[0], items, "item"), (words[1], classes, "class")):
            if word not in known:
                raise MetaftError(f"{where} line {number}: {word[:80]!r} is no {kind} of {run}")
        item, label = items[words[0]], classes[words[1]]
        if item in labels:
            raise MetaftError(f"{where} line {number}: {words[0]} is given twice")
        if label in labels.values():
            raise MetaftError(f"{where} line {number}: {words[1]} is given to two items")
        labels[item] = label
    for name, item in items.items():
        if item not in labels:
            raise MetaftError(f"{where}: {name} is missing")
    return torch.tensor([labels[item] for item in range(WAYS)])
