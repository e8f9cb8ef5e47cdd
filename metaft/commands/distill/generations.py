"""The line of generations: each a new network, taught by the one before it, in a run directory of its own."""

from __future__ import annotations

import dataclasses
import math
import os
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from metaft.assembly.backbone import load_backbone
from metaft.assembly.frozen_base import frozen_base
from metaft.assembly.networks import build_classifier
from metaft.commands.distill.data import DistillData
from metaft.distillation.cached_teacher import answers
from metaft.distillation.loss import DistillationLoss
from metaft.distillation.student import Student
from metaft.distillation.teacher import Teacher
from metaft.environment import program
from metaft.errors import MetaftError
from metaft.evaluation.held_out import HeldOut, Watched
from metaft.evaluation.validation import validate
from metaft.files import clear_disk_errors
from metaft.learners.supervised import Supervised
from metaft.runs.directory import RunDirectory, read_record
from metaft.runs.listing import summarise_run
from metaft.runs.own_adapters import with_own_adapters
from metaft.runs.reading import number
from metaft.settings.distill import DistillConfig, GenerationConfig, generation_config
from metaft.training.loop import meta_train

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


class Generations:
    """The training of all generations.

    Args:
        run: the open run directory that theirs lie in.
        config: the settings of all.
        data: what they learn from.
        progress: show each training on standard error.
        watch: told, in a line, what begins and how it ended.
    """

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
            # Its own best score may be of other validation data.
            found = validate(Supervised(teacher), self.data.validation, config.validate_tasks)
            line = [Generation(0, teacher, Path(str(config.teacher)), found.metric, found.ci95, None, None)]
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
            student = build_student(with_own_adapters(config, self.run.path), self.data, before)
            meta_train(
                student,
                self.data.minibatches(config),
                out=path,
                validation=_watched(self.data, before),
                resume=known,
                progress=self.progress,
                config=config,
                base=frozen_base(config.model, student.module, student.params),
                command=f"{program()} distill --resume --out {shlex.quote(str(self.run.path))}",
            )
            record = read_record(path)
        summary = summarise_run(path)
        told = temperature if generation and config.uses_temperature else None
        self.run.write_record(iteration=generation)
        self.watch(f"{path.name}: validation accuracy {100 * (summary.best or 0):.2f} %")
        return Generation(
            generation, load_backbone(path), path, summary.best, summary.ci95, number(record.get("seconds")), told
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


def build_student(config: GenerationConfig, data: DistillData, before: nn.Module | None) -> Supervised:
    """What one generation trains: on labels, or taught by the generation before it.

    Args:
        config: of the generation.
        data: of all.
        before: the generation before it; None for generation 0.

    Returns:
        The learner, with its initial weights.

    Raises:
        MetaftError: if network, loss and teacher do not go together.
    """
    family = data.minibatches(config)
    model = build_classifier(config, family)
    if config.generation and config.control == "longer" and before is not None:
        if repr(model) != repr(before):
            raise MetaftError(
                "control = longer trains generation 0's own network on: students need its model, hidden and dropout"
            )
        return Supervised(before, label_smoothing=config.label_smoothing)
    if not config.generation or before is None:
        return Supervised(model, label_smoothing=config.label_smoothing)
    loss = DistillationLoss(**vars(config.loss_choices()))
    if not loss.needs_teacher:
        return Student(model, loss=loss)
    teacher = Teacher(before, family.input_shape, "features" if loss.hidden else "scores", family.images.layout)
    seen = None if config.iterations is None else config.iterations * config.batch_size
    return Student(model, loss=loss, teacher=answers(teacher, family, config.cache, seen))


def _watched(data: DistillData, before: nn.Module | None) -> HeldOut | Watched:
    """Validation that also tells how much a student agrees with the generation before it."""
    probe = data.probe
    if before is not None:
        teacher = Teacher(before, probe.input_shape, layout=probe.images.layout)
        probe = dataclasses.replace(probe, teacher=teacher.table(probe.images))
    return probe if isinstance(data.validation, HeldOut) else Watched(data.validation, probe)


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
