"""What a teacher costs its student: ``python -m benchmarks.distillation --results results``.

One epoch of Hinton's MNIST student (784-800-800-10, minibatches of 128, one thread) through the training loop: on
labels alone; taught by a teacher of 2 × 1200 units whose answers are cached; by the same teacher, asked for each
minibatch. They take turns (A B C A B C …), and a ratio is of neighbours. Then the parts of an iteration's time.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import Any

import click
import torch

from benchmarks.speed.clock import Entrant, alternate, ratio
from metaft.data.example_split import load_example_split
from metaft.distillation.cached_teacher import answers
from metaft.distillation.loss import DistillationLoss
from metaft.distillation.student import Student
from metaft.distillation.teacher import Teacher
from metaft.evaluation.report import write_result
from metaft.learners.supervised import Supervised
from metaft.models import build
from metaft.tasks.minibatches import Minibatches
from metaft.training.loop import TrainResult, meta_train
from metaft.training.state import TrainState

BATCH, VALIDATION = 128, 500
TARGET = 1.15
PLAIN, CACHED, ASKED = "labels alone", "taught, answers cached", "taught, teacher asked each time"
LOSS = DistillationLoss(temperature=4.0, label_weight=0.5)


def network(units: int, seed: int) -> torch.nn.Module:
    """Two hidden layers of so many units."""
    return build("mlp", outputs=10, input_shape=(1, 28, 28), seed=seed, hidden=(units, units))


def learners(family: Minibatches) -> tuple[dict[str, Supervised], float]:
    """The three students, alike but for who teaches them, and the seconds that filling the cache took."""
    teacher = Teacher(network(1200, 0), (1, 28, 28))
    start = time.perf_counter()
    teacher.table(family.images.images)
    seconds = time.perf_counter() - start
    cached, own = answers(teacher, family, "on"), network(800, 1)
    taught = {name: Student(own, loss=LOSS, teacher=who) for name, who in ((CACHED, cached), (ASKED, teacher))}
    return {PLAIN: Supervised(own), **taught}, seconds


def epoch(learner: Supervised, family: Minibatches, iterations: int) -> TrainResult:
    """One epoch through the training loop, its log and its last checkpoint included."""
    with tempfile.TemporaryDirectory(prefix="metaft-distillation-") as folder:
        return meta_train(learner, family, iterations, BATCH, out=Path(folder) / "run", progress=False)


def parts(learner: Supervised, family: Minibatches, iterations: int) -> dict[str, float]:
    """Milliseconds an iteration spends in each part, the median over iterations."""
    state = TrainState.start(learner.params, 0.0, torch.device("cpu"))
    learner.params = state.weights
    taken: dict[str, list[float]] = {}

    def timed(name: str, call: Callable[..., Any], *given: Any) -> Any:
        start = time.perf_counter()
        found = call(*given)
        taken.setdefault(name, []).append((time.perf_counter() - start) * 1e3)
        return found

    for i in range(iterations):
        batch = timed("batch", family.batch, i, BATCH)
        if isinstance(learner, Student) and learner.teacher is not None:
            taught = timed("teacher's answers", learner.teacher, batch)
            scores = torch.randn_like(taught, requires_grad=True)
            losses = timed("loss", LOSS.losses, scores, scores, batch.query_y.flatten(), taught, batch.rows)
            timed("its derivative", losses.mean().backward)
        out = timed("whole gradient", learner.meta_gradient, batch)
        timed("norm", lambda grads: torch.stack(torch._foreach_norm(grads)).norm(), list(out.grads.values()))
        timed("Adam", state.step, out.grads, 1e-3)
    return {name: statistics.median(values) for name, values in taken.items()}


@click.command()
@click.option("--results", type=click.Path(path_type=Path), help="folder for distillation_speed.json")
@click.option("--rounds", default=9, show_default=True)
@click.option("--iterations", default=None, type=int, help="of an epoch, to try it out  [default: a whole one]")
def main(results: Path | None, rounds: int, iterations: int | None) -> None:
    """Measure what distillation costs beside plain training."""
    torch.set_num_threads(1)
    family = Minibatches(load_example_split("mnist", val=VALIDATION).train, dataset="mnist")
    images = len(family.images.images)
    length = iterations or images // BATCH
    students, filling = learners(family)
    starts = {name: learner.params for name, learner in students.items()}

    def again(name: str) -> TrainResult:
        students[name].params = starts[name]
        return epoch(students[name], family, length)

    entrants = {name: Entrant(partial(again, name), threads=1, seconds=attrgetter("seconds")) for name in students}
    seconds, _ = alternate(entrants, rounds, 0.0)
    ratios = {name: ratio(seconds[name], seconds[PLAIN]) for name in (CACHED, ASKED)}
    where = {name: parts(students[name], family, min(length, 100)) for name in students}
    for name in students:
        found = ratios.get(name)
        beside = f", {found.median:.3f} ({found.low:.3f}–{found.high:.3f}) × labels alone" if found else ""
        print(f"{name}: {statistics.median(seconds[name]):.2f} s for {length} minibatches of {BATCH}{beside}")
        print("   " + ", ".join(f"{part} {value:.2f} ms" for part, value in where[name].items()))
    print(f"filling the cache, once for all runs: {filling:.2f} s for {images:,} images")
    print(f"target: cached at most {TARGET} ×: {'met' if ratios[CACHED].median <= TARGET else 'MISSED'}")
    if results is not None:
        numbers = {"seconds": seconds, "ratio": {name: [r.median, r.low, r.high] for name, r in ratios.items()},
                   "target": TARGET, "minibatches": length, "batch_size": BATCH, "images": images,
                   "cache_seconds": filling, "milliseconds": where}  # fmt: skip
        command = f"python -m benchmarks.distillation --rounds {rounds} --iterations {length}"
        write_result(results / "distillation_speed.json", {"epoch": numbers}, command, [0])


if __name__ == "__main__":
    main()
