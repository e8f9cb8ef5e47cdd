"""``metaft distill``: each generation is a new network, taught by the one before it (Furlanello et al. 2018)."""

from __future__ import annotations

import contextlib
import shlex
from pathlib import Path
from typing import Any

from torch import nn

from metaft.assembly.backbone import load_backbone
from metaft.assembly.networks import build_classifier
from metaft.assembly.words import require_words_of
from metaft.commands.distill.data import DistillData, build_data, tested_on
from metaft.commands.distill.generations import Generations, Watch, build_student
from metaft.commands.distill.report import Report, finish
from metaft.distillation.teacher import Teacher
from metaft.distributed.place import place
from metaft.environment import program
from metaft.errors import MetaftError
from metaft.runs.directory import RunDirectory, read_record, write_beginning
from metaft.runs.own_adapters import adapter_files, with_own_adapters
from metaft.runs.reading import entries
from metaft.runs.resuming import require_same_config
from metaft.settings.distill import DistillConfig, generation_config
from metaft.training.stopping import StoppedRun


def prepare(config: DistillConfig) -> tuple[DistillData, nn.Module | None]:
    """Read the data and the teacher, and see that all fits; nothing is written.

    Args:
        config: the settings.

    Returns:
        The data; the network of ``config.teacher``, if one is given.

    Raises:
        MetaftError: for whatever would fail later: data, networks, a teacher that is missing, damaged or of other
            classes.
    """
    if place().size > 1:
        raise MetaftError("metaft distill runs as one process, not under torchrun: leave torchrun out")
    teacher = None if config.teacher is None else load_backbone(config.teacher)
    data = build_data(config)
    first = generation_config(config, 0, data.per_epoch(config.batch_size), config.temperatures[0])
    student = generation_config(config, 1, data.per_epoch(config.batch_size), config.temperatures[0])
    if teacher is not None:
        _require_same_classes(config, teacher, data)
    if config.validation == "few-shot":
        tested_on(config)  # too few test classes, say: known now, not after all training
    before = teacher or build_classifier(first, data.minibatches(first))
    # No cache of what an untrained network answers.
    build_student(student.model_copy(update={"cache": "off"}), data, before)
    data.minibatches(student).batch(0, config.batch_size)
    return data, teacher


def distill(
    config: DistillConfig,
    out: str | Path,
    *,
    resume: bool = False,
    overwrite: bool = False,
    progress: bool = True,
    command: str | None = None,
    prepared: tuple[DistillData, nn.Module | None] | None = None,
    watch: Watch = lambda line: None,
) -> Report:
    """Train generation 0 on labels (or take a run for it), then each next one from the one before it.

    Each generation is a run directory of its own in ``out``, named ``generation-0``, ``generation-1``, …; a network
    with a fresh seed, whose teacher is the generation before it, frozen, with its best weights by validation.

    Args:
        config: the settings.
        out: the run directory of all.
        resume: go on with what is there, in the generation it was in.
        overwrite: replace it.
        progress: show each generation's training on standard error.
        command: what to record as the command.
        prepared: as ``prepare`` made it.
        watch: told, in a line, what begins and how it ended.

    Returns:
        The generations, and how good each of them is.

    Raises:
        MetaftError: as ``prepare`` and ``meta_train``, or if a resumed run would go on with other settings.
        StoppedRun: as ``meta_train``.
    """
    path, typed = Path(out), command or f"metaft distill --out {out}"
    if overwrite and config.teacher is not None and Path(config.teacher).resolve().is_relative_to(path.resolve()):
        raise MetaftError(f"--overwrite would remove the teacher {config.teacher}; give another --out")
    data, teacher = prepared or prepare(with_own_adapters(config, path) if resume else config)
    with contextlib.closing(RunDirectory.open(path, resume=resume, overwrite=overwrite)) as run:
        _begin(run, config, data, teacher, resume, typed)
        try:
            line = Generations(run, config, data, progress, watch).run_all(teacher)
            watch("scoring all generations and their ensembles on test data")
            return finish(run, line, typed)
        except StoppedRun as stopped:
            run.write_record(state="stopped")
            hint = f"{program()} distill --resume --out {shlex.quote(str(out))}"
            raise StoppedRun(f"stopped and saved; go on with: {hint}", stopped.exit_code - 128) from None
        except MetaftError as error:
            with contextlib.suppress(MetaftError):  # The disk may be full; the first error says so.
                run.write_record(state="failed", reason=str(error))
            raise


def _begin(
    run: RunDirectory, config: DistillConfig, data: DistillData, teacher: nn.Module | None, resume: bool, command: str
) -> None:
    """Write ``config.toml`` and ``run.json``."""
    digest = None if teacher is None else _teacher(teacher, data).digest
    settings: dict[str, Any] = {
        "train": {"iterations": config.generations, "minutes": None, "seed": config.seed},
        "learner": {"learner": f"distilled, control {config.control}" if config.control != "none" else "distilled"},
        "family": data.train.describe(),
    }
    if resume:
        require_same_config(run.path, config)
        if run.record().get("teacher_sha256") != digest:
            raise MetaftError(f"the teacher {config.teacher} is another network than the one the run was begun with")
    files = adapter_files(with_own_adapters(config, run.path) if resume else config)
    write_beginning(run, command, config, settings, {"teacher_sha256": digest}, resume, files)


def _teacher(network: nn.Module, data: DistillData) -> Teacher:
    return Teacher(network, data.train.input_shape, layout=data.train.images.layout)


def _require_same_classes(config: DistillConfig, teacher: nn.Module, data: DistillData) -> None:
    """Refuse a teacher of other images or classes than the students', or one that learned from held-out examples."""
    require_words_of(str(config.teacher), data.train)
    whose, need = f"the teacher {config.teacher}", "teacher and student need the same classes"
    try:
        found = _teacher(teacher, data).width
    except RuntimeError:
        shape = "×".join(map(str, data.train.input_shape))
        raise MetaftError(f"{whose} does not take images of {shape}, which the data has") from None
    if found != data.train.outputs:
        raise MetaftError(f"{whose} tells {found} classes apart and the data has {data.train.outputs}; {need}")
    family, ours = entries(read_record(str(config.teacher)), "settings", "family"), data.train.describe()
    for name in ("dataset", "scheme", "rotations", "split_seed", "min_examples"):
        if name in family and family[name] != ours.get(name, family[name]):
            raise MetaftError(f"{whose} was trained on {name} = {family[name]}, not {ours[name]}: {need}")
    if "examples" in ours and family.get("examples") != ours["examples"]:
        raise MetaftError(
            f"{whose} may have learned from the examples that are held out here: give a run of metaft distill with the "
            "same --validation-share, --test-share and --split-seed"
        )
