"""The few-shot benchmark: every learner, at every number of shots, on the same tasks."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, cast

from torch import Tensor, nn

from metaft.errors import MetaftError
from metaft.evaluation.cell import EVALUATION, Cell
from metaft.evaluation.comparison import Comparison, require_baseline
from metaft.evaluation.evaluate import BLOCK, Progress, device_of, draw, evaluate_batches, last_answers, score
from metaft.evaluation.peak_memory import peak_memory
from metaft.evaluation.shown_episodes import kept_answers
from metaft.evaluation.task_progress import shown
from metaft.learners.learner import Learner
from metaft.tasks.batch import TaskBatch
from metaft.tasks.digest import digest
from metaft.tasks.family import TaskFamily
from metaft.validate import require_count


@dataclass(frozen=True)
class Entrant:
    """One learner of one seed.

    Args:
        label: what tables call it; entrants of one label differ in their seed.
        seed: None for a learner without randomness.
        make: builds it; called when its turn comes, so that one network at a time is in memory.
        origin: JSON-able; two entrants with equal origins are the same learner.
    """

    label: str
    seed: int | None
    make: Callable[[], Learner]
    origin: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def compare(
    learners: Mapping[str, Learner | Sequence[Learner]],
    family: TaskFamily,
    shots: Sequence[int] | None = None,
    tasks: int = 600,
    baseline: str | None = None,
    *,
    paired_seeds: bool = False,
    progress: Progress | bool | None = True,
) -> Comparison:
    """Evaluate learners on the same tasks.

    Args:
        learners: by the name to show; several learners under one name are seeds of one method.
        family: draws the tasks.
        shots: support examples a class; by default as the family has them.
        tasks: how many, at each number of shots.
        baseline: the learner that others are held against, the first by default.
        paired_seeds: hold the n-th seed of a method against the n-th of the baseline, for methods that share what a
            seed stands for, such as the pretrained network; by default seeds of two methods are independent.
        progress: True for a live line on a terminal and in a notebook, False for none; or a function that is called
            with tasks done and tasks in all.

    Returns:
        The comparison.

    Raises:
        MetaftError: if there is nothing to compare, or a learner's answers do not fit the tasks.
    """
    entrants = []
    for label, given in learners.items():
        several = list(given) if isinstance(given, Sequence) else [given]
        for seed, learner in enumerate(several):
            entrants.append(Entrant(label, seed if len(several) > 1 else None, partial(_same, learner)))
    require_baseline(baseline, learners)
    require_count(tasks, "tasks", 1)
    families = with_shots(family, shots)
    for entrant in entrants:
        rehearse(entrant.label, entrant.make(), families)
    with shown(progress) as told:
        cells = tuple(run(entrants, families, tasks, progress=told))
    return Comparison(cells, baseline or next(iter(learners)), paired_seeds)


def with_shots(family: TaskFamily, shots: Sequence[int] | None) -> dict[int, TaskFamily]:
    """The same family at several numbers of shots.

    Args:
        family: a dataclass with a field ``shots``, or anything if `shots` is None.
        shots: the numbers; the family's own if None.

    Returns:
        Families by shots.

    Raises:
        MetaftError: if the family has no shots to replace.
    """
    if shots is None:
        own = family.describe().get("shots", 0)
        return {own if isinstance(own, int) else 0: family}
    made = cast(Any, family)
    if not dataclasses.is_dataclass(made) or "shots" not in {field.name for field in dataclasses.fields(made)}:
        raise MetaftError(f"{type(family).__name__} has no shots to replace; compare one family at a time")
    replaced: Any = dataclasses.replace
    return {count: replaced(made, shots=count) for count in shots}


def rehearse(label: str, learner: Learner, families: Mapping[int, TaskFamily]) -> None:
    """Let a learner answer one task at each number of shots, so that a mistake is found before any work is lost.

    Args:
        label: the learner's, for the message.
        learner: the learner.
        families: by shots.

    Raises:
        MetaftError: if the learner fails, or its answers do not fit the tasks.
    """
    for shots, family in families.items():
        batch = family.batch(0, 1)
        try:
            answers = learner.curve(batch.to(device_of(learner))).detach().cpu()
            if len(answers) > 1:
                _seconds_per_task(learner, batch)
            score(answers, batch.query_y, batch.support_y)
        except MetaftError as error:
            raise MetaftError(f"{label} at {shots} shots: {error}") from error
        except Exception as error:
            raise MetaftError(f"{label} fails at {shots} shots: {type(error).__name__}: {error}") from error
        if answers.shape[-1] > family.outputs:
            raise MetaftError(f"{label} answers with {answers.shape[-1]} outputs, the tasks have {family.outputs}")


def run(
    entrants: Sequence[Entrant],
    families: Mapping[int, TaskFamily],
    tasks: int,
    *,
    stored: Sequence[Cell] = (),
    keep: Callable[[Cell], object] | None = None,
    every_step: bool = True,
    progress: Progress | None = None,
) -> Iterator[Cell]:
    """Evaluate entrant by entrant.

    Args:
        entrants: the learners.
        families: by shots.
        tasks: how many, at each number of shots.
        stored: evaluations made earlier; those of an equal learner on equal tasks, by this version of the evaluation,
            are not made again, unless a curve is asked for that they lack.
        keep: called with each new evaluation.
        every_step: score after every inner step, for the picture against steps; otherwise after the last alone.
        progress: called with tasks done and tasks in all that are to be done now.

    Yields:
        All evaluations, stored ones too.
    """
    kept = [cell for cell in stored if not (every_step and _without_curve(cell))]
    checksums = {shots: lru_cache(partial(tasks_sha256, family, tasks)) for shots, family in families.items()}
    plan = [(entrant, shots, _earlier(kept, entrant, shots, families[shots], tasks, checksums[shots]))
            for entrant in entrants for shots in families]  # fmt: skip
    total = tasks * sum(cell is None for _, _, cell in plan)
    done, holder, learner = 0, None, None
    for entrant, shots, cell in plan:
        if cell is None:
            if holder is not entrant or learner is None:
                learner = None  # freed before the next is made
                holder, learner = entrant, entrant.make()
            told = partial(_shifted, progress, done, total)
            cell = _evaluate(entrant, learner, families[shots], shots, tasks, every_step, told)
            done += tasks
            if keep is not None:
                keep(cell)
        yield cell


def _evaluate(
    entrant: Entrant,
    learner: Learner,
    family: TaskFamily,
    shots: int,
    tasks: int,
    every_step: bool,
    progress: Progress,
) -> Cell:
    seen = hashlib.sha256()

    def noted() -> Iterator[TaskBatch]:
        for batch in draw(family, tasks):
            seen.update(digest(batch).encode())
            yield batch

    answers: list[list[float | None]] = []

    def look(first: int, batch: TaskBatch, predictions: Tensor) -> None:
        if not first:
            answers.extend(kept_answers(batch, predictions[-1]))

    with peak_memory() as peak:
        result = evaluate_batches(
            learner, noted(), tasks, family=family.describe(), every_step=every_step, progress=progress, look=look
        )
    if "parameters" not in result.learner:
        result.learner["parameters"] = _numbers_held(learner)
    once = result.answering_seconds / tasks
    if len(result.steps) > 1:
        # The evaluation answers after every step, which may take longer than the steps themselves.
        once = _seconds_per_task(learner, next(draw(family, min(tasks, BLOCK))))
    cell = Cell(
        entrant.label, entrant.seed, shots, seen.hexdigest(), once, peak.added, result, entrant.origin, answers=answers
    )
    # As it will be read back, so that a resumed comparison says exactly what an uninterrupted one says.
    return Cell.from_json(cell.to_json())


def _seconds_per_task(learner: Learner, batch: TaskBatch) -> float:
    begin = time.perf_counter()
    last_answers(learner, batch.to(device_of(learner))).cpu()
    return (time.perf_counter() - begin) / batch.tasks


def tasks_sha256(family: TaskFamily, tasks: int) -> str:
    """A checksum of the first tasks of a family, as `Cell` has it.

    Args:
        family: draws them.
        tasks: how many.

    Returns:
        SHA-256 of all their tensors, in hexadecimal digits.
    """
    seen = hashlib.sha256()
    for batch in draw(family, tasks):
        seen.update(digest(batch).encode())
    return seen.hexdigest()


def _earlier(
    stored: Sequence[Cell], entrant: Entrant, shots: int, family: TaskFamily, tasks: int, checksum: Callable[[], str]
) -> Cell | None:
    """The stored evaluation of an equal learner on equal tasks, if there is one."""
    sought = (entrant.label, entrant.seed, shots, tasks, _plain(entrant.origin), _plain(family.describe()))
    for cell in stored:
        told = (cell.label, cell.seed, cell.shots, cell.result.tasks, cell.origin, cell.result.family)
        # The tasks themselves last, as they have to be drawn: the images behind equal settings may be others by now.
        if told == sought and cell.evaluation == EVALUATION and cell.tasks_sha256 == checksum():
            return cell
    return None


def _numbers_held(learner: Learner) -> int:
    """Of a learner that does not say: its meta-parameters, or what the networks hold that it has."""
    own = sum(value.numel() for value in learner.params.values())
    held = [value for value in getattr(learner, "__dict__", {}).values() if isinstance(value, nn.Module)]
    return own or sum(value.numel() for model in held for value in model.state_dict().values())


def _without_curve(cell: Cell) -> bool:
    """Whether a learner that takes steps was scored after the last alone."""
    return len(cell.result.steps) == 1 and bool(cell.result.learner.get("steps"))


def _plain(settings: Mapping[str, Any]) -> Any:
    return json.loads(json.dumps(dict(settings)))


def _shifted(progress: Progress | None, before: int, total: int, done: int, tasks: int) -> None:
    if progress is not None:
        progress(before + done, total)


def _same(learner: Learner) -> Learner:
    return learner
