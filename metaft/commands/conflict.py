"""Whether the tasks of a data set pull a backbone apart."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from metaft.assembly.learners import check_runs, make_learner
from metaft.assembly.tasks import build_family
from metaft.assembly.words import in_own_words, networks_of
from metaft.errors import MetaftError
from metaft.evaluation.conflict import Conflict, conflict
from metaft.evaluation.evaluate import draw
from metaft.evaluation.report import write_result
from metaft.learners.fine_tuning import FineTuning
from metaft.learners.spec import parse
from metaft.plain_json import finite
from metaft.settings.config import RunConfig, validated


def measure(
    backbone: str,
    *,
    tasks: int = 20,
    head_steps: int = 50,
    head_rate: float = 0.1,
    split: str = "test",
    json_file: str | Path | None = None,
    **settings: Any,
) -> Conflict:
    """The cosines between tasks' gradients of a backbone.

    Args:
        backbone: a run directory, a pretrained model, or "random".
        tasks: how many.
        head_steps: by which each task's head is fitted first.
        head_rate: of these steps.
        split: whose classes.
        json_file: where they are written; nowhere if None.
        settings: of the tasks, and of a random network; None means not given.

    Returns:
        The cosines.

    Raises:
        MetaftError: for bad input, or if the file cannot be written.
    """
    spec = parse(f"fine-tuning:backbone={backbone}")
    given = in_own_words({name: value for name, value in settings.items() if value is not None}, [spec])
    config = validated(RunConfig, given)
    family = build_family(config, split, config.seed, networks=networks_of([spec], config))
    if family.kind != "classification":
        raise MetaftError(f"gradients are held against each other for tasks of classes, and {config.dataset} has none")
    check_runs(spec, config, {config.shots: family})
    learner, _ = make_learner(spec, 0, family, config, None)
    assert isinstance(learner, FineTuning)
    found = conflict(learner.model.module, draw(family, tasks), family.outputs, steps=head_steps, rate=head_rate)
    if json_file is not None:
        told = {"cosines": finite(found.cosines), "tasks": found.tasks, "family": family.describe()}
        told |= {"head_steps": head_steps, "head_rate": head_rate}
        write_result(json_file, {backbone: told}, ["metaft", *sys.argv[1:]], [config.seed])
    return found
