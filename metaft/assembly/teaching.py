"""From settings to a meta-learner that is taught by another learner."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from metaft.assembly.learners import check_runs, make_learner, weights_digest
from metaft.assembly.meta_learner import Parts, build, run_config
from metaft.assembly.tasks import build_family
from metaft.distillation.taught_meta_learner import Distilled
from metaft.errors import MetaftError
from metaft.evaluation.benchmark import rehearse
from metaft.learners.answering import last_answers
from metaft.learners.learner import MetaLearner
from metaft.learners.spec import Spec, parse
from metaft.settings.config import RunConfig
from metaft.settings.defaults import REGRESSIONS
from metaft.settings.teacher import QueryTeacherSettings
from metaft.tasks.family import TaskFamily


def check_teacher(config: RunConfig, out: str | Path) -> None:
    """Refuse a teacher that cannot be one, before data is read.

    Args:
        config: the settings.
        out: the run directory of the student.

    Raises:
        MetaftError: if there is no such teacher, it is what ``out`` is to hold, the tasks are a regression, or
            settings of a teacher are given without one.
    """
    if config.teacher is None:
        for name in ("temperature", "label_weight"):
            if getattr(config, name) != QueryTeacherSettings.model_fields[name].default:
                raise MetaftError(f"{name} = {getattr(config, name)} is of a teacher: name one, --teacher RUN")
        return
    if config.dataset in REGRESSIONS:
        raise MetaftError(f"a teacher's soft answers are class probabilities, and {config.dataset} is a regression")
    spec = _spec(config)
    if spec.kind == "run" and Path(spec.target).resolve() == Path(out).resolve():
        raise MetaftError(f"{out} cannot be its own teacher: give another --out")


def build_taught(config: RunConfig) -> Parts[TaskFamily, MetaLearner]:
    """Everything a training run needs, its teacher included.

    Args:
        config: the settings.

    Returns:
        Training and validation tasks, and the learner, taught if the settings name a teacher.

    Raises:
        MetaftError: as `build` and `taught`.
    """
    parts = build(config)
    return dataclasses.replace(parts, learner=taught(parts.learner, config, parts.train))


def taught(student: MetaLearner, config: RunConfig, family: TaskFamily) -> MetaLearner:
    """The learner as it is trained: with the teacher that the settings name, or as it is where they name none.

    Args:
        student: with its initial weights.
        config: the settings.
        family: the training tasks.

    Returns:
        The learner.

    Raises:
        MetaftError: as `check_teacher`; if the teacher's run is damaged, or it has seen the student's test classes; or
            if it fails at these tasks or answers with another number of classes.
    """
    if config.teacher is None:
        return student
    spec = _spec(config)
    check_runs(spec, config, {config.shots: build_family(config, "test", config.seed)})
    trained = run_config(spec.target).steps if spec.kind == "run" else None  # not those that it has for the test
    teacher, weights = make_learner(spec, config.seed, family, config, trained)
    label = f"teacher {spec.text}"
    rehearse(label, teacher, {config.shots: family})
    outputs = last_answers(teacher, family.batch(0, 1)).shape[-1]
    if outputs != family.outputs:
        raise MetaftError(f"{label} tells {outputs} classes apart, its student {family.outputs}")
    told = {"teacher": spec.text, "teacher_sha256": weights_digest(weights)}
    return Distilled(student, teacher, temperature=config.temperature, label_weight=config.label_weight, told=told)


def _spec(config: RunConfig) -> Spec:
    spec = parse(str(config.teacher)).at(config.seed)
    if spec.kind == "import":
        # A settings file may come from a stranger, and an import path among options would be followed unasked.
        raise MetaftError(f"teacher = {config.teacher}: a run directory or a learner's name, no import path")
    return spec
