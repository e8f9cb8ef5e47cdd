"""What is looked at once before a run: its first tasks, and what the learner answers for them."""

from __future__ import annotations

from typing import Any

import torch

from metaft.errors import MetaftError
from metaft.learners.learner import MetaLearner as Learner
from metaft.tasks.batch import TaskBatch
from metaft.tasks.check import require_answers, require_fit, require_sound
from metaft.tasks.family import TaskFamily
from metaft.training.state import kept_as_it_was


def require_first(
    learner: Learner, family: TaskFamily, validation: TaskFamily | None, batch: TaskBatch, device: torch.device
) -> None:
    """Refuse tasks that do not fit their family, and a learner that does not fit its tasks, before any update.

    Args:
        learner: with its initial weights; it answers for one task; torch's random state, and what the learner
            keeps, are left as they were.
        family: the training tasks.
        validation: the validation tasks, if there are any.
        batch: the first of the training tasks.
        device: where the learner computes.

    Raises:
        MetaftError: naming what does not fit, and the task.
    """
    require_fit(batch, family)
    require_sound(batch)
    if validation is not None and getattr(validation, "kind", family.kind) != family.kind:
        raise MetaftError(f"the training tasks are a {family.kind}, and the validation tasks a {validation.kind}")
    one: Any = batch[:1]
    if not one.tasks or not one.query_x.shape[1]:
        return
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), kept_as_it_was(getattr(learner, "kept", None)):
        try:
            answers = learner.curve(one.to(device))
        except MetaftError:
            raise
        except Exception as error:
            fails = f"fails on the first task, with examples of shape {list(one.query_x.shape[2:])}"
            raise MetaftError(f"learner {learner.name!r} {fails}: {type(error).__name__}: {error}") from error
    answers = require_answers(answers, one, f"learner {learner.name!r}: its curve")
    most, width = int(torch.cat([one.support_y, one.query_y], 1).max()), answers.shape[-1]
    if family.kind == "classification" and width <= most:
        raise MetaftError(
            f"task 0: its labels go to {most}, and learner {learner.name!r} answers with {width} numbers a query"
        )
