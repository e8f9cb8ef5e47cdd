"""A comparison in a folder: evaluations as they come, tables, pictures, TensorBoard; resumable."""

from __future__ import annotations

import os
import shlex
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from metaft.assembly.learners import build_entrants
from metaft.assembly.tasks import build_family, fitting_tasks
from metaft.assembly.words import in_own_words, networks_of
from metaft.commands.compare.files import (
    CELLS,
    COMPARISON,
    PICTURES,
    TABLES,
    clear,
    lines_of,
    newest,
    parse_cells,
    read_cells,
)
from metaft.commands.compare.report import write_files
from metaft.commands.sweep.record import RECORD, chosen_learner
from metaft.data.splits import ALL
from metaft.distributed.place import place
from metaft.distributed.ranks import join
from metaft.errors import MetaftError
from metaft.evaluation.benchmark import Entrant, run, with_shots
from metaft.evaluation.comparison import Cell, Comparison, require_baseline
from metaft.evaluation.comparison_report import results
from metaft.evaluation.report import write_result
from metaft.files import folder_path, write_atomically
from metaft.learners.spec import labels, parse, read_numbers, read_seeds
from metaft.runs.directory import locked
from metaft.settings.config import RunConfig, validated
from metaft.tasks.family import TaskFamily
from metaft.training.stopping import StoppedRun

__all__ = ["CELLS", "PICTURES", "compare_in", "newest", "read_cells"]

Progress = Callable[[int, int], object]


def compare_in(
    out: str | Path,
    learners: Sequence[str],
    *,
    shots: str | None = None,
    seeds: str = "1",
    baseline: str | None = None,
    paired_seeds: bool = False,
    resume: bool = False,
    overwrite: bool = False,
    every_step: bool = True,
    progress: Progress | None = None,
    split: str = "test",
    **settings: Any,
) -> Comparison:
    """Compare learners on test tasks, into a folder; under torchrun the ranks share the tasks, and rank 0 writes.

    Args:
        out: the folder.
        learners: as `metaft.learners.spec.parse` reads them, or a sweep's folder for what that chose; ``{seed}`` in
            one is filled with each seed.
        shots: numbers joined by commas; the settings' own by default.
        seeds: a count or numbers joined by commas.
        baseline: a learner or its label, the first by default.
        paired_seeds: hold seed s of a learner against seed s of the baseline, for learners that share what a seed
            stands for, such as the pretrained network; by default the seeds of two learners are independent.
        resume: keep the evaluations that are there, and take those that were made of equal learners on equal tasks.
        overwrite: replace them.
        every_step: score after every inner step, for the picture against steps; otherwise after the last alone.
        progress: called with tasks done and tasks in all that are to be done.
        split: "test", or "all" for the classes of all splits, where no learner was trained on any of them.
        settings: of the tasks (``dataset``, ``ways``, ``queries``, ``seed``, …), of a random start's network, and
            ``test_tasks`` and ``test_steps``; None means not given.

    Returns:
        The comparison, written to the folder.

    Raises:
        MetaftError: for bad input, found before the first evaluation; or if the folder cannot be written.
    """
    folder, first = folder_path(out), place().first
    if first:
        COMPARISON.check(folder, resume=resume, overwrite=overwrite)
    swept = {text: chosen_learner(text) for text in learners if os.path.isfile(Path(text) / RECORD)}
    specs = [parse(swept.get(text, text)) for text in learners]
    given = {name: value for name, value in settings.items() if value is not None}
    counts = read_numbers("shots", shots, 1) if shots is not None else None
    # Published steps at test are those of one method, and each learner has its own here.
    given = in_own_words(given, specs)
    config = validated(RunConfig, {"test_steps": None, **given, **({"shots": counts[0]} if counts else {})})
    names = labels(specs) if specs else []
    aliases = dict(zip(learners, names, strict=True))
    chosen = aliases.get(str(baseline), baseline)
    require_baseline(chosen, names)
    if not every_step and config.test_steps is not None:
        raise MetaftError("--steps goes with --curves; with --no-curves give each learner its own steps")
    if split not in ("test", ALL):
        raise MetaftError(
            f"split = {split!r}: learners are compared on 'test' classes, or on {ALL!r} if they train none"
        )
    config = fitting_tasks(config, given, split, max(counts or (config.shots,)))
    networks = networks_of([spec.at(read_seeds(seeds)[0]) for spec in specs], config)
    families = with_shots(build_family(config, split, config.seed, networks=networks), counts)
    entrants = build_entrants(specs, families, config, read_seeds(seeds), config.test_steps)
    with join() as world, locked(folder, "comparison") if first else nullcontext():
        stored = read_cells(folder / CELLS) if resume and first else []
        if world.size > 1:
            stored = parse_cells(world.from_first(lines_of(stored)).decode())
        if overwrite and first:
            clear(folder)
        cells = _evaluate(folder, entrants, families, config.test_tasks, stored, every_step, progress)
        comparison = Comparison(tuple(cells), chosen or names[0], paired_seeds)
        if first:
            _write(folder, comparison, families, config, read_seeds(seeds), swept)
    return comparison


def _evaluate(
    folder: Path,
    entrants: Sequence[Entrant],
    families: dict[int, Any],
    tasks: int,
    stored: Sequence[Cell],
    every_step: bool,
    progress: Progress | None,
) -> list[Cell]:
    kept = list(stored)

    def keep(cell: Cell) -> None:
        kept.append(cell)  # Beside what was made of other tasks or settings: nothing that was evaluated is lost.
        if place().first:
            write_atomically(folder / CELLS, lines_of(kept))

    found: list[Cell] = []
    try:
        for cell in run(entrants, families, tasks, stored=stored, keep=keep, every_step=every_step, progress=progress):
            found.append(cell)
        return found
    except KeyboardInterrupt:
        whole, way = len(entrants) * len(families), "go on with --resume" if kept else "nothing was lost"
        said = f"stopped; {len(found)} of {whole} evaluations are kept in {folder}; {way}"
        raise StoppedRun(said, signal.SIGINT) from None


def _write(
    folder: Path,
    comparison: Comparison,
    families: Mapping[int, TaskFamily],
    config: RunConfig,
    seeds: Sequence[int],
    swept: Mapping[str, str],
) -> None:
    command = shlex.join(["metaft", *sys.argv[1:]])
    extra = {
        "task_seed": config.seed,
        "tasks": comparison.tasks,
        "tasks_sha256": {str(shots): total for shots, total in comparison.checksums.items()},
        "baseline": comparison.baseline,
        "paired_seeds": comparison.paired_seeds,
        "family": comparison.family,
        "chosen_on_validation_classes_by_sweep": dict(swept),
    }
    write_result(folder / TABLES, results(comparison), command, seeds, extra)
    write_files(folder, comparison, families[comparison.shots[0]], command)
