"""How far patterns, support sets and orders move a model's accuracy in context, cell by cell; resumable."""

from __future__ import annotations

import json
import shlex
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, get_args

import numpy as np

from metaft.assembly.causal_model import causal_model
from metaft.assembly.learners import weights_digest
from metaft.assembly.tasks import SMALLEST, build_family
from metaft.environment import environment
from metaft.errors import MetaftError, nearest
from metaft.evaluation.report import write_result
from metaft.evaluation.style import save
from metaft.evaluation.variance_report import Measured, box_plot, markdown, results
from metaft.files import folder_path, write_atomically
from metaft.plugins import foreign
from metaft.prompting.calibration import Calibration
from metaft.prompting.grid import NONE, Grid, answered, cell_key, drawn
from metaft.prompting.pattern import Pattern
from metaft.prompting.pattern_files import Patterns, of_dataset, read
from metaft.prompting.prompt import Direction, Prompter, Score
from metaft.prompting.text_lookup import TextLookup
from metaft.prompting.verbalizer import words_for
from metaft.runs.contents import Contents
from metaft.runs.directory import locked
from metaft.runs.reading import dig, read_json, read_rows
from metaft.settings.config import RunConfig, validated
from metaft.settings.defaults import TEXTS
from metaft.tables import CALIBRATIONS
from metaft.training.stopping import StoppedRun

CELLS, TABLES, PAGE, PICTURE = "cells.jsonl", "variance.json", "variance.md", "variance.png"
ALL = "all"
Progress = Callable[[int, int], object]


def _is_ours(folder: Path) -> bool:
    with suppress(MetaftError):
        rows = read_rows(folder / CELLS)
        if rows and all({"pattern", "key", "answers"} <= set(row) for row in rows):
            return True
    with suppress(MetaftError):
        return isinstance(dig(read_json(folder / TABLES), "versions", "metaft"), str)
    return False


CONTENTS = Contents(
    "table of variance",
    CELLS,
    (CELLS, TABLES, PAGE, PICTURE),
    is_ours=_is_ours,
    is_free=lambda names: all(name.startswith(".") for name in names),
)


@dataclass(frozen=True)
class Asked:
    """One pattern, ready to be asked.

    Args:
        prompter: the model and the pattern.
        words: of each class.
    """

    prompter: Prompter
    words: tuple[tuple[str, ...], ...]

    @property
    def name(self) -> str:
        """The pattern's."""
        return self.prompter.pattern.name


def variance_in(
    out: str | Path,
    model: str,
    *,
    patterns: str = ALL,
    orders: int = 5,
    sets: int = 3,
    shots: int = 4,
    queries: int = 100,
    calibrations: Sequence[str] = ("contextual",),
    direction: Direction = "direct",
    score: Score = "sum",
    split: str = "test",
    seed: int = 1000,
    resume: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
    **settings: Any,
) -> Measured:
    """Answer the same queries behind patterns × support sets × orders of demonstrations, into a folder.

    Args:
        out: the folder.
        model: as `metaft.assembly.causal_model.causal_model` takes it.
        patterns: names joined by commas, of those that come with metaft for the data set; a TOML file, perhaps with
            ``#name,name``; or "all" that take such inputs.
        orders: of demonstrations; the same places in all support sets.
        sets: of support examples, without a text in common.
        shots: demonstrations of each class.
        queries: how many in all.
        calibrations: as ``metaft parts calibration`` lists them, with options; "none" adds nothing.
        direction: "direct" or "channel", see `metaft.prompting.Prompter`; all patterns that have a form for it.
        score: of an answer, or an input, of several words: "sum" or "mean" of log-probabilities.
        split: whose texts.
        seed: of support sets, orders, queries, and of weights that are drawn anew.
        resume: keep the cells that are there.
        overwrite: replace them.
        progress: called with cells done and cells in all that are to be done.
        settings: of the data set (``dataset``, ``data_root``, …); None means not given.

    Returns:
        What was measured, written to the folder.

    Raises:
        MetaftError: for bad input, found before the first cell; or if the folder cannot be written.
    """
    folder = folder_path(out)
    CONTENTS.check(folder, resume=resume, overwrite=overwrite)
    changes = _calibrations(calibrations)
    for what, value, known in (("direction", direction, Direction), ("score", score, Score)):
        if value not in get_args(known):
            raise MetaftError(f"unknown {what} {value!r}{nearest(value, get_args(known))}")
    config = validated(RunConfig, {name: value for name, value in settings.items() if value is not None})
    if config.dataset not in TEXTS:
        raise MetaftError(
            f"prompts are made of texts, and {config.dataset} has none; see metaft data for those that do"
        )
    network, tokenizer = causal_model(model, seed)
    own = {"tokenizer": tokenizer.name if foreign(model) else model}
    family = build_family(config.model_copy(update=SMALLEST | own), split, seed, networks=[])
    lookup = TextLookup.of(family)
    grid = drawn(_classes(lookup), sets, orders, shots, queries, seed, config.dataset)
    held, chosen = _patterns(patterns, config.dataset, lookup.pairs, direction)
    asked = [_asked(Prompter(network, tokenizer, pattern, direction, score), held, grid) for pattern in chosen]
    digest = weights_digest(dict(network.state_dict()))
    with locked(folder, "table of variance"):
        if overwrite:
            for name in (TABLES, PAGE, PICTURE, CELLS):
                (folder / name).unlink(missing_ok=True)
        cells = _cells(folder, asked, grid, changes, digest, progress)
        right = {
            name: np.array([cell["answers"][name] for cell in cells]).reshape(len(asked), sets, orders, queries)
            == np.array(grid.labels)
            for name in (NONE, *changes)
        }
        measured = Measured(tuple(one.name for one in asked), right, grid.labels)
        extra = {
            "model": model,
            "weights_sha256": digest,
            "family": {**family.describe(), "ways": len(grid.names), "shots": shots, "queries": queries},
            "direction": direction,
            "score": score,
            "sets": sets,
            "orders": [list(order) for order in grid.orders],
            "patterns": {one.name: {"text": one.prompter.template, "words": one.words} for one in asked},
            "texts_cut": sum(int(cell["cut"]) for cell in cells),
        }
        how = "".join(f", {value}" for value in (direction, score) if value not in ("direct", "sum"))
        _write(folder, measured, f"{model} on {config.dataset} {split}, {shots}-shot{how}", seed, extra)
    return measured


def _classes(lookup: TextLookup) -> dict[str, list[Any]]:
    """Class → its texts; groups are left out of the names."""
    found: dict[str, list[Any]] = {}
    counts = lookup.tokens.counts
    for name, end, count in zip(lookup.names, counts.cumsum(0).tolist(), counts.tolist(), strict=True):
        found.setdefault(lookup.called(name), []).extend(lookup.tokens.texts[end - count : end])
    return found


def _calibrations(asked: Sequence[str]) -> dict[str, Calibration]:
    found: dict[str, Calibration] = {}
    for text in asked:
        if text in found:
            raise MetaftError(f"calibration {text!r} is asked for twice")
        if text != NONE:
            found[text] = CALIBRATIONS.make(text)
    return found


def _patterns(asked: str, dataset: str, pairs: bool, direction: Direction) -> tuple[Patterns, list[Pattern]]:
    """All that stand in a file, and those that are meant."""
    file, _, listed = asked.partition("#")
    own = file.endswith(".toml") or Path(file).is_file()
    held = read(file) if own else of_dataset(dataset)
    names = [name.strip() for name in ((listed or ALL) if own else asked).split(",")]
    if names == [ALL]:
        fits = lambda one: one.takes_pairs == pairs and (one.channel or direction == "direct")
        found = [one for one in held.patterns.values() if fits(one)]
        return held, found or [held.find(None, pairs)]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise MetaftError(f"pattern {twice!r} is asked for twice")
    for name in names:
        if name not in held.patterns:
            known = ", ".join((ALL, *held.patterns))
            raise MetaftError(f"unknown pattern {name!r}{nearest(name, held.patterns)}; known: {known}")
    return held, [held.patterns[name] for name in names]


def _asked(prompter: Prompter, held: Patterns, grid: Grid) -> Asked:
    prompter.pattern.asked(grid.texts[0])  # refuses inputs of another kind
    return Asked(prompter, tuple(words_for(grid.names, held.words_of(prompter.pattern))))


def _cells(
    folder: Path,
    asked: Sequence[Asked],
    grid: Grid,
    changes: Mapping[str, Calibration],
    digest: str,
    progress: Progress | None,
) -> list[dict[str, Any]]:
    """All cells in order, those that the folder has not yet being answered."""
    stored = read_rows(folder / CELLS) if (folder / CELLS).exists() else []
    known = {row.get("key"): row for row in stored if {NONE, *changes} <= set(row.get("answers") or ())}
    places = list(product(asked, range(len(grid.sets)), range(len(grid.orders))))
    demonstrations = [grid.shown(number, order, one.words) for one, number, order in places]
    keys = [
        cell_key(one.prompter, shown, grid.texts, one.words, digest)
        for (one, _, _), shown in zip(places, demonstrations, strict=True)
    ]
    todo = [place for place, key in enumerate(keys) if key not in known]
    try:
        for done, place in enumerate(todo):
            if progress is not None:
                progress(done, len(todo))
            (one, number, order), shown = places[place], demonstrations[place]
            start = time.perf_counter()
            found = answered(one.prompter, shown, grid.texts, one.words, changes)
            row = {
                "pattern": one.name, "set": number, "order": order, "key": keys[place], "cut": found.cut,
                "seconds": round(time.perf_counter() - start, 4), "answers": found.of,
            }  # fmt: skip
            stored.append(row)
            known[keys[place]] = row
            lines = "".join(json.dumps(held, ensure_ascii=False) + "\n" for held in stored)
            write_atomically(folder / CELLS, lines.encode())
        if progress is not None and todo:
            progress(len(todo), len(todo))
    except KeyboardInterrupt:
        kept = sum(key in known for key in keys)
        way = "go on with --resume" if kept else "nothing was lost"
        raise StoppedRun(f"stopped; {kept} of {len(places)} cells are kept in {folder}; {way}", signal.SIGINT) from None
    return [known[key] for key in keys]


def _write(folder: Path, measured: Measured, title: str, seed: int, extra: Mapping[str, Any]) -> None:
    command = shlex.join(["metaft", *sys.argv[1:]])
    where = environment()
    versions = ", ".join(f"{name} {version}" for name, version in where["versions"].items())
    made = f"Seed {seed}; {versions}; commit {where['commit']}; {where['date']}."
    save(box_plot(measured, title), folder / PICTURE)
    write_atomically(folder / PAGE, markdown(measured, title, command, made, PICTURE).encode())
    write_result(folder / TABLES, results(measured), command, [seed], extra)
