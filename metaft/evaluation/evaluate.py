"""Evaluate a learner on few-shot tasks: one score a task, after each inner step."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor

from metaft.distributed.ranks import join
from metaft.errors import MetaftError
from metaft.evaluation.result import Result
from metaft.evaluation.statistics import Summary, diverged_errors, summarise
from metaft.evaluation.task_progress import shown
from metaft.learners.answering import last_answers
from metaft.seeds import require_seed
from metaft.tasks.answers import answered, present
from metaft.tasks.batch import IGNORE, TaskBatch
from metaft.tasks.check import require_answers, require_fit, require_sound
from metaft.tasks.family import TaskFamily
from metaft.validate import require_count

BLOCK = 50
"""Evaluation task i is task ``i % BLOCK`` of ``family.batch(i // BLOCK, BLOCK)``, whatever the batch size."""

Progress = Callable[[int, int], object]
Look = Callable[[int, TaskBatch, Tensor], object]


class Answering(Protocol):
    """What evaluation needs of a learner."""

    @property
    def name(self) -> str:
        """The method's name."""

    @property
    def transductive(self) -> bool:
        """Whether the answer to one query depends on the other queries."""

    @property
    def params(self) -> dict[str, Tensor]:
        """The meta-parameters; empty for a learner without any."""

    def adapt(self, support_x: Tensor, support_y: Tensor) -> Callable[[Tensor], Tensor]:
        """Adapt to ``[tasks, support, *input]`` and return ``query_x → [tasks, query, outputs]``."""

    def curve(self, batch: TaskBatch, steps: int | None = None) -> Tensor:
        """Predictions after each inner step, ``[steps + 1, tasks, queries, outputs]``."""

    def describe(self) -> dict[str, Any]:
        """Flat settings."""


def evaluate(
    learner: Answering,
    family: TaskFamily,
    tasks: int = 600,
    *,
    steps: int | None = None,
    batch_size: int | None = None,
    seed: int | None = None,
    every_step: bool = True,
    progress: Progress | bool | None = True,
) -> Result:
    """Score a learner on tasks of a family, by default the usual 600.

    Tasks come in blocks of `BLOCK`, so task i is the same task whatever `tasks` and `batch_size` are, and two
    learners evaluated on equal families can be compared task by task. Under torchrun every rank must call this: they
    share the batches, and all of them get the result of one process, bit for bit.

    Args:
        learner: answers for query sets after 0, 1, … inner steps.
        family: draws the tasks.
        tasks: how many.
        steps: inner steps; as in training by default, more are allowed.
        batch_size: tasks adapted at once (`BLOCK` by default): memory grows with it, results do not change.
        seed: draw with this seed in place of the family's own.
        every_step: score the answers after every inner step; otherwise after the last alone, which is quicker.
        progress: True for a live line on a terminal and in a notebook, False for none; or a function that is called
            with ``(tasks done, tasks)`` after each batch.

    Returns:
        The result.

    Raises:
        MetaftError: on counts that make no sense, or a learner whose answers do not fit the tasks.
    """
    require_count(tasks, "tasks", 1)
    require_count(BLOCK if batch_size is None else batch_size, "batch_size", 1)
    if seed is not None:
        family = _reseeded(family, require_seed(seed))
    batches = fitting(family, draw(family, tasks, BLOCK if batch_size is None else batch_size))
    with shown(progress) as told:
        return evaluate_batches(learner, batches, tasks, family=family.describe(), steps=steps, every_step=every_step,
                                progress=told)  # fmt: skip


def evaluate_batches(
    learner: Answering,
    batches: Iterable[TaskBatch],
    tasks: int,
    *,
    family: Mapping[str, Any],
    steps: int | None = None,
    every_step: bool = True,
    progress: Progress | None = None,
    look: Look | None = None,
) -> Result:
    """Score a learner on tasks that exist already, such as the published runs of a benchmark.

    Args:
        learner: as in `evaluate`.
        batches: the tasks; one batch is adapted at once.
        tasks: how many there are in all batches.
        family: flat settings that say what the tasks are.
        steps: as in `evaluate`.
        every_step: as in `evaluate`.
        progress: called with ``(tasks done, tasks)`` after each batch.
        look: called with each batch: the number of its first task, the batch, and the learner's answers to it,
            ``[steps + 1, tasks, queries, outputs]``; under torchrun on the rank that has it.

    Returns:
        The result.

    Raises:
        MetaftError: as in `evaluate`, or if a task has NaN or infinite values or a support set of one class.
    """
    require_count(0 if steps is None else steps, "inner steps")
    if not every_step and steps is not None:
        raise MetaftError(f"steps={steps} go with every_step=True; otherwise make the learner with so many")
    device = device_of(learner)
    begin, metric = time.perf_counter(), ""

    def scored(batch: TaskBatch, first: int) -> Tensor:
        nonlocal metric
        require_sound(batch, first=first)
        batch_begin = time.perf_counter()
        answers = learner.curve(batch.to(device), steps) if every_step else last_answers(learner, batch.to(device))
        predictions = require_answers(answers, batch, f"learner {learner.name!r}: its answer").detach().cpu()
        spent = (time.perf_counter() - batch_begin) / batch.tasks
        metric, scores, bad = score(predictions, batch.query_y.cpu(), batch.support_y.cpu())
        if look is not None:
            look(first, batch, predictions)
        if progress is not None and world.first:
            progress(min(first + batch.tasks * world.size, tasks), tasks)
        return torch.cat([scores, bad.double(), torch.full((1, batch.tasks), spent, dtype=torch.float64)])

    with join() as world:
        found = world.map_tasks(scored, batches)
    if not found.numel():
        raise MetaftError("nothing to evaluate: no tasks were given")
    scores, bad = found[:-1].chunk(2)
    bad = bad.bool()
    return Result(
        metric=metric,
        transductive=learner.transductive,
        per_task=scores[-1],
        steps=tuple(_summaries(metric, scores, bad)),
        diverged_tasks=tuple(bad[-1].nonzero().flatten().tolist()),
        seconds=time.perf_counter() - begin,
        answering_seconds=float(found[-1].sum()),
        learner={"name": learner.name, **learner.describe()},
        family=dict(family),
    )


def device_of(learner: Answering) -> torch.device:
    """Where a learner's parameters lie; the CPU for one that has none."""
    return next((value.device for value in learner.params.values()), torch.device("cpu"))


def draw(family: TaskFamily, tasks: int, batch_size: int = BLOCK) -> Iterator[TaskBatch]:
    """The first `tasks` evaluation tasks of a family, in batches.

    Args:
        family: draws blocks of `BLOCK` tasks.
        tasks: how many in all.
        batch_size: how many a batch; the last may be smaller.

    Yields:
        Batches; their concatenation does not depend on `batch_size`.
    """
    held: tuple[int, TaskBatch] | None = None
    for start in range(0, tasks, batch_size):
        stop = min(start + batch_size, tasks)
        pieces = []
        for index in range(start // BLOCK, (stop - 1) // BLOCK + 1):
            if held is None or held[0] != index:
                held = index, family.batch(index, BLOCK)
            first = index * BLOCK
            pieces.append(held[1][max(start - first, 0) : stop - first])
        columns = zip(*(piece.tensors() for piece in pieces), strict=True)
        yield TaskBatch(*(torch.cat(column) for column in columns), layout=pieces[0].layout)


def fitting(family: TaskFamily, batches: Iterable[TaskBatch]) -> Iterator[TaskBatch]:
    """Batches that are what their family says; the first that is not is refused."""
    first = 0
    for batch in batches:
        require_fit(batch, family, first)
        first += batch.tasks
        yield batch


def score(predictions: Tensor, query_y: Tensor, support_y: Tensor | None = None) -> tuple[str, Tensor, Tensor]:
    """One number per step and task; padded queries are left out.

    Args:
        predictions: ``[steps + 1, tasks, queries, outputs]``: scores of the classes, or values.
        query_y: ``int64 [tasks, queries]`` (accuracy) or ``float [tasks, queries, outputs]`` (squared error).
        support_y: the support set's labels, ``int64 [tasks, support]``: a class without an example there is never
            the answer, whatever its score. Any class may be, if None or without examples.

    Returns:
        The metric's name; ``float64 [steps + 1, tasks]``; ``bool [steps + 1, tasks]``, which diverged. The
        answer is the class with the highest score, the lowest label among equals. A score of −inf is a score: that
        class cannot be. A query with a score of NaN or +inf has no answer and counts as wrong; a classification
        that has one "diverged".

    Raises:
        MetaftError: if the shapes do not fit.
    """
    regression = query_y.is_floating_point()
    expected = query_y.shape if regression else (*query_y.shape, "ways")
    given = predictions.shape[1:]
    if predictions.dim() != 4 or given[:2] != query_y.shape[:2] or (regression and given != query_y.shape):
        raise MetaftError(
            f"the learner's curve must have shape [steps + 1, {', '.join(map(str, expected))}], "
            f"got {list(predictions.shape)}"
        )
    if regression:
        errors = (predictions.double() - query_y.double()).square().flatten(2).mean(-1)
        return "mse", errors, diverged_errors(errors)
    if int(query_y.max()) >= predictions.shape[-1]:
        raise MetaftError(
            f"the learner tells {predictions.shape[-1]} classes apart, the tasks have at least "
            f"{int(query_y.max()) + 1}; evaluate it with as many ways as it was trained for"
        )
    supported = support_y is not None and support_y.shape[-1]
    allowed = present(support_y, predictions.shape[-1]).unsqueeze(-2) if supported else None  # type: ignore[arg-type]
    answers, none = answered(predictions, allowed)
    counted = query_y != IGNORE
    right = (answers == query_y) & ~none
    return "accuracy", right.sum(-1).double() / counted.sum(-1), (none & counted).any(-1)


def _summaries(metric: str, scores: Tensor, bad: Tensor) -> Iterator[Summary]:
    for values, out in zip(scores, bad, strict=True):
        if metric == "mse":
            yield summarise(values, out)
        else:
            # A wrong answer has an accuracy already: leaving the task out would only flatter the learner.
            yield dataclasses.replace(summarise(values), diverged=int(out.sum()))


def _reseeded(family: Any, seed: int) -> Any:
    if dataclasses.is_dataclass(family) and "seed" in {field.name for field in dataclasses.fields(family)}:
        return dataclasses.replace(family, seed=seed)  # type: ignore[type-var]
    raise MetaftError(
        f"{type(family).__name__} has no seed to replace; make the family with seed={seed} and evaluate that"
    )
