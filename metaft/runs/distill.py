"""``metaft distill``: each generation is a new network, taught by the one before it (Furlanello et al. 2018)."""

from __future__ import annotations

import dataclasses
import math
import os
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from metaft.distillation.cached import answers
from metaft.distillation.student import Student
from metaft.distillation.teacher import Teacher
from metaft.distributed.place import place
from metaft.environment import program
from metaft.errors import MetaftError
from metaft.files import clear_disk_errors, write_atomically
from metaft.learners.supervised import Supervised
from metaft.runs.backbone import load_backbone
from metaft.runs.config import to_toml
from metaft.runs.directory import RunDirectory, first_record, read_record
from metaft.runs.distill_config import DistillConfig, GenerationConfig, generation_config
from metaft.runs.distill_data import DistillData, build_data
from metaft.runs.held_out import HeldOut, Watched
from metaft.runs.listing import summarise_run
from metaft.runs.loop import meta_train
from metaft.runs.pretrain import build_classifier
from metaft.runs.reading import dig, number
from metaft.runs.recorded import recorded_config
from metaft.runs.stopping import StoppedRun

MAY_CHANGE = ("generations", "patience", "device", "threads", "checkpoint_every")
"""Settings that a resumed distillation may be given anew."""

Watch = Callable[[str], None]


@dataclass(frozen=True)
class Generation:
    """One network of the line.

    Args:
        number: 0 for the first teacher.
        network: with its best weights by validation, in evaluation mode.
        path: its run directory.
        best: its best validation score.
        ci95: half width of that score's 95% interval.
        seconds: its training took; None for a teacher from elsewhere.
        temperature: at which it was taught; None where no temperature plays a part.
    """

    number: int
    network: nn.Module
    path: Path
    best: float | None
    ci95: float | None
    seconds: float | None
    temperature: float | None


@dataclass(frozen=True)
class Line:
    """All generations, as far as they have come.

    Args:
        out: the run directory.
        config: the settings.
        data: what they learned from.
        generations: oldest first; number 0 may be a run from elsewhere.
        tried: temperature → validation score, where there were several.
        stopped: why there are fewer than asked for; empty if there are not.
    """

    out: Path
    config: DistillConfig
    data: DistillData
    generations: tuple[Generation, ...]
    tried: Mapping[float, float]
    stopped: str = ""

    @property
    def best(self) -> Generation:
        """The best by validation of those that were trained here, the earliest among equals."""
        own = [g for g in self.generations if g.path.parent == self.out]
        return max(own, key=lambda g: (-math.inf if g.best is None else g.best, -g.number))


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
    before = teacher or build_classifier(first, data.minibatches(first))
    # No cache of what an untrained network answers.
    _student(student.model_copy(update={"cache": "off"}), data, before)
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
) -> Line:
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
        The generations.

    Raises:
        MetaftError: as ``prepare`` and ``meta_train``, or if a resumed run would go on with other settings.
        StoppedRun: as ``meta_train``.
    """
    path = Path(out)
    data, teacher = prepared or prepare(config)
    run = RunDirectory.open(path, resume=resume, overwrite=overwrite)
    try:
        _begin(run, config, data, teacher, resume, command or f"metaft distill --out {out}")
        try:
            line = _Loop(run, config, data, progress, watch).run_all(teacher)
        except StoppedRun as stopped:
            run.write_record(state="stopped")
            hint = f"{program()} distill --resume --out {shlex.quote(str(out))}"
            raise StoppedRun(f"stopped and saved; go on with: {hint}", stopped.exit_code - 128) from None
        except MetaftError as error:
            run.write_record(state="failed", reason=str(error))
            raise
        run.write_record(generations=len(line.generations) - 1, iteration=len(line.generations) - 1)
        return line
    finally:
        run.close()


class _Loop:
    """What the training of every generation shares."""

    def __init__(
        self, run: RunDirectory, config: DistillConfig, data: DistillData, progress: bool, watch: Watch
    ) -> None:
        self.run, self.config, self.data, self.progress, self.watch = run, config, data, progress, watch

    def run_all(self, teacher: nn.Module | None) -> Line:
        """Generation after generation."""
        config = self.config
        if teacher is None:
            line = [self.generation(0, None, config.temperatures[0], self.run.path / "generation-0")]
        else:
            found = summarise_run(str(config.teacher))
            line = [Generation(0, teacher, Path(str(config.teacher)), found.best, found.ci95, None, None)]
        temperature, tried, stopped = config.temperatures[0], dict[float, float](), ""
        for generation in range(1, config.generations + 1):
            if generation == 1 and len(config.temperatures) > 1:
                temperature, tried = self.choose_temperature(line[0].network)
            path = self.run.path / f"generation-{generation}"
            line.append(self.generation(generation, line[-1].network, temperature, path))
            if (stopped := _no_longer_better(line, config.patience)) and generation < config.generations:
                self.watch(stopped)
                break
        return Line(self.run.path, config, self.data, tuple(line), tried, stopped)

    def generation(self, generation: int, before: nn.Module | None, temperature: float, path: Path) -> Generation:
        """Train one, or go on with it, or read it where it is finished."""
        config = generation_config(self.config, generation, self.data.per_epoch(self.config.batch_size), temperature)
        known = (path / "run.json").exists()
        record = read_record(path) if known else {}
        if record.get("state") != "finished":
            self.watch(f"{path.name}: {'goes on' if known else 'begins'}{_taught(config, before)}")
            meta_train(
                _student(config, self.data, before),
                self.data.minibatches(config),
                out=path,
                validation=_watched(self.data, before),
                resume=known,
                progress=self.progress,
                config=config,
                command=f"{program()} distill --resume --out {shlex.quote(str(self.run.path))}",
            )
            record = read_record(path)
        found = summarise_run(path)
        told = temperature if generation and config.uses_temperature else None
        self.run.write_record(iteration=generation)
        self.watch(f"{path.name}: validation accuracy {100 * (found.best or 0):.2f} %")
        return Generation(
            generation, load_backbone(path), path, found.best, found.ci95, number(record.get("seconds")), told
        )

    def choose_temperature(self, teacher: nn.Module) -> tuple[float, dict[float, float]]:
        """Train generation 1 at each temperature; the best by validation becomes it, the lowest among equals."""
        record = self.run.record()
        tried, chosen = record.get("temperatures"), number(record.get("temperature"))
        folders = {t: self.run.path / "candidates" / f"temperature-{t:g}" for t in self.config.temperatures}
        if not isinstance(tried, dict) or chosen not in folders:
            scores = {t: self.generation(1, teacher, t, folder).best for t, folder in folders.items()}
            tried = {f"{t:g}": score for t, score in scores.items() if score is not None}
            chosen = max(sorted(scores), key=lambda t: scores[t] or 0.0)
            self.run.write_record(temperatures=tried, temperature=chosen)
            self.watch(f"temperature {chosen:g} is the best by validation")
        final = self.run.path / "generation-1"
        if not final.exists():
            with clear_disk_errors(str(final)):
                os.rename(folders[chosen], final)
        return chosen, {float(t): float(score) for t, score in tried.items()}


def _student(config: GenerationConfig, data: DistillData, before: nn.Module | None) -> Supervised:
    """What one generation trains: on labels, or taught by the generation before it."""
    family = data.minibatches(config)
    if config.generation and config.control == "longer" and before is not None:
        return Supervised(before, label_smoothing=config.label_smoothing)
    model = build_classifier(config, family)
    if not config.generation or before is None:
        return Supervised(model, label_smoothing=config.label_smoothing)
    loss = config.student_loss()
    if not loss.needs_teacher:
        return Student(model, loss=loss)
    teacher = Teacher(before, family.input_shape, "features" if loss.hidden else "scores")
    seen = None if config.iterations is None else config.iterations * config.batch_size
    return Student(model, loss=loss, teacher=answers(teacher, family, config.cache, seen))


def _watched(data: DistillData, before: nn.Module | None) -> HeldOut | Watched:
    """Validation that also tells how much a student agrees with the generation before it."""
    probe = data.probe
    if before is not None:
        teacher = Teacher(before, probe.input_shape)
        probe = dataclasses.replace(probe, teacher=teacher.table(probe.images.images))
    return probe if isinstance(data.validation, HeldOut) else Watched(data.validation, probe)


def _begin(
    run: RunDirectory, config: DistillConfig, data: DistillData, teacher: nn.Module | None, resume: bool, command: str
) -> None:
    """Write ``config.toml`` and ``run.json``."""
    digest = None if teacher is None else Teacher(teacher, data.train.input_shape).digest
    settings: dict[str, Any] = {
        "train": {"iterations": config.generations, "minutes": None, "seed": config.seed},
        "learner": {"learner": f"distilled, control {config.control}" if config.control != "none" else "distilled"},
        "family": data.train.describe(),
    }
    record = first_record(command, settings) | {"kind": config.command, "teacher_sha256": digest}
    if resume:
        earlier = run.record()
        before = recorded_config(run.path)
        if not isinstance(before, DistillConfig) or isinstance(before, GenerationConfig):
            raise MetaftError(f"{run.path} was not made by metaft distill")
        for name, value in before.model_dump().items():
            if value != getattr(config, name) and name not in MAY_CHANGE:
                raise MetaftError(
                    f"the run was begun with {name} = {value}, not {getattr(config, name)}; "
                    f"only {', '.join(MAY_CHANGE)} may change when resuming"
                )
        if earlier.get("teacher_sha256") != digest:
            raise MetaftError(f"the teacher {config.teacher} is another network than the one the run was begun with")
        record |= {"started": earlier.get("started"), "resumed": record["started"]}
    write_atomically(run.path / "config.toml", to_toml(config).encode())
    run.write_record(**record)


def _require_same_classes(config: DistillConfig, teacher: nn.Module, data: DistillData) -> None:
    """Refuse a teacher that takes other images, or tells other classes apart, than the students shall."""
    try:
        found = Teacher(teacher, data.train.input_shape).width
    except RuntimeError:
        shape = "×".join(map(str, data.train.input_shape))
        raise MetaftError(f"the teacher {config.teacher} does not take images of {shape}, which the data has") from None
    if found != data.train.outputs:
        raise MetaftError(
            f"the teacher {config.teacher} tells {found} classes apart and the data has {data.train.outputs}; "
            "teacher and student need the same classes"
        )
    family = dig(read_record(str(config.teacher)), "settings", "family")
    ours = data.train.describe()
    for name in ("dataset", "scheme", "rotations"):
        if isinstance(family, dict) and name in family and family[name] != ours.get(name, family[name]):
            raise MetaftError(
                f"the teacher {config.teacher} was trained on {name} = {family[name]}, not {ours[name]}: "
                "teacher and student need the same classes"
            )


def _no_longer_better(line: list[Generation], patience: int | None) -> str:
    """Why to stop, if the last generations have not bettered those before them."""
    if patience is None or len(line) <= patience:
        return ""
    scores = [-math.inf if g.best is None else g.best for g in line]
    if max(scores[-patience:]) > max(scores[:-patience]):
        return ""
    return f"stops: no better validation score in {patience} generation{'s' if patience > 1 else ''}"


def _taught(config: GenerationConfig, before: nn.Module | None) -> str:
    """How a generation learns, for the terminal."""
    if not config.generation or before is None:
        return ", on labels"
    if not config.uses_teacher:
        return f", on labels ({config.control})" if config.control != "none" else ", on labels"
    control = "" if config.control == "none" else f", control {config.control}"
    told = f" at temperature {config.temperature}" if config.uses_temperature else f" by {config.loss}"
    return f", taught by generation {config.generation - 1}{told}{control}"
