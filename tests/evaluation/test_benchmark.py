from __future__ import annotations

import dataclasses
import hashlib
import json

import pytest
import torch
from scipy import stats

import metaft
from metaft.errors import MetaftError
from metaft.evaluation.benchmark import Entrant, run, with_shots
from metaft.evaluation.comparison import Cell, Comparison
from metaft.evaluation.difference import difference
from metaft.evaluation.evaluate import evaluate
from metaft.evaluation.peak_memory import peak_memory
from metaft.learners import NearestNeighbour
from metaft.tasks.batch import TaskBatch
from tests.evaluation.toys import Blobs, Fixed, LineFitter, Lines

TASKS = 70


@dataclasses.dataclass
class Guess:
    """Classes at random, the same for the same seed; remembers the tasks it was given."""

    seed: int
    name: str = "guess"
    transductive: bool = False
    params: dict = dataclasses.field(default_factory=dict)
    seen: list = dataclasses.field(default_factory=list)

    def adapt(self, support_x, support_y):
        return lambda query_x: self._scores(query_x, int(support_y.max()) + 1)

    def curve(self, batch, steps=None):
        self.seen.append(batch)
        return self._scores(batch.query_x, int(batch.support_y.max()) + 1)[None]

    def _scores(self, query_x, ways):
        rng = torch.Generator().manual_seed(self.seed)
        return torch.rand(*query_x.shape[:2], ways, generator=rng)

    def describe(self):
        return {"adapts": 0}


class Fitter(LineFitter):
    """Answers once as well, as every learner does."""

    def adapt(self, support_x, support_y):
        return lambda query_x: self.curve(TaskBatch(support_x, support_y, query_x, query_x))[-1]


@pytest.fixture(scope="module")
def compared() -> Comparison:
    learners = {"nearest": NearestNeighbour(), "guess": [Guess(0), Guess(1), Guess(2)]}
    return metaft.compare(learners, Blobs(), shots=[1, 3], tasks=TASKS)


def test_scores_are_those_of_evaluate(compared: Comparison) -> None:
    for shots in (1, 3):
        family = Blobs(shots=shots)
        row, other = compared.rows(shots)
        alone = evaluate(NearestNeighbour(), family, tasks=TASKS)
        assert row.score.mean == pytest.approx(alone.mean, abs=1e-6)
        assert row.score.ci95 == pytest.approx(alone.ci95, rel=1e-4)
        per_seed = [evaluate(Guess(seed), family, tasks=TASKS).mean for seed in range(3)]
        assert other.score.mean == pytest.approx(sum(per_seed) / 3, abs=1e-6)
        assert other.seeds is not None
        assert (other.seeds.low, other.seeds.high) == pytest.approx((min(per_seed), max(per_seed)), abs=1e-6)
        assert row.seeds is None, "nothing is random about it"


def test_differences_are_paired_by_task_and_range_over_seeds(compared: Comparison) -> None:
    nearest, guess = compared.rows(3)
    family = Blobs(shots=3)
    seeds = torch.stack([evaluate(Guess(seed), family, tasks=TASKS).per_task for seed in range(3)])
    fixed = evaluate(NearestNeighbour(), family, tasks=TASKS).per_task
    expected = difference(seeds, fixed, deterministic=(False, True))
    assert nearest.gap is None
    assert guess.gap is not None
    assert guess.gap.mean == pytest.approx(expected.mean, abs=1e-5)
    assert guess.gap.ci95 == pytest.approx(expected.ci95, abs=1e-5)
    assert (guess.gap.ranges_over, guess.gap.about) == ("tasks and seeds", "the method")
    assert guess.verdict == "worse"


def test_with_one_seed_a_difference_is_the_paired_t_test() -> None:
    compared = metaft.compare({"nearest": NearestNeighbour(), "guess": Guess(0)}, Blobs(), tasks=TASKS)
    gap = compared.rows(2)[1].gap
    scores = [evaluate(learner, Blobs(), tasks=TASKS).per_task.numpy() for learner in (Guess(0), NearestNeighbour())]
    low, high = stats.ttest_rel(*scores).confidence_interval(0.95)
    assert gap is not None
    assert (gap.mean - gap.ci95, gap.mean + gap.ci95) == pytest.approx((low, high), abs=1e-5)


def test_all_learners_are_given_the_same_tasks() -> None:
    first, second = Guess(0), Guess(1)
    compared = metaft.compare({"a": first, "b": second}, Blobs(), tasks=TASKS)
    for mine, yours in zip(first.seen, second.seen, strict=True):
        assert all(torch.equal(x, y) for x, y in zip(mine.tensors(), yours.tensors(), strict=True))
    blocks = [Blobs().batch(0, 50), Blobs().batch(1, 50)[:20]]
    total = hashlib.sha256()
    for block in blocks:
        one = hashlib.sha256()
        for tensor in block.tensors():
            one.update(f"{tensor.numpy().dtype}{tuple(tensor.shape)}".encode() + tensor.numpy().tobytes())
        total.update(one.hexdigest().encode())
    assert compared.checksums == {2: total.hexdigest()}
    other = metaft.compare({"a": first}, Blobs(seed=1), tasks=TASKS)
    assert other.checksums != compared.checksums
    with pytest.raises(MetaftError, match="different tasks at 2 shots"):
        Comparison((*compared.cells, dataclasses.replace(other.cells[0], label="c")), "a")


def test_lower_errors_are_better_and_divergence_is_told() -> None:
    def wild(batch):
        answers = torch.zeros(1, *batch.query_y.shape)
        answers[0, 0] = torch.nan
        return answers

    compared = metaft.compare({"fit": Fitter(), "wild": Fixed(wild)}, Lines(), tasks=TASKS, baseline="wild")
    fit, other = compared.rows(compared.shots[0])
    assert fit.verdict == "better"
    assert fit.gap is not None
    assert fit.gap.mean < 0
    assert len(fit.steps) == 4
    assert other.score.diverged == 2, "the first task of each of the two batches"
    assert fit.gap.diverged == 2
    assert fit.seconds_per_task > 0


def test_stored_evaluations_are_not_made_again(compared: Comparison) -> None:
    made: list[int] = []

    def guess(seed: int) -> Guess:
        made.append(seed)
        return Guess(seed)

    entrants = [Entrant("guess", seed, lambda seed=seed: guess(seed), {"seed": seed}) for seed in range(2)]
    families = with_shots(Blobs(), [1, 3])
    whole = list(run(entrants, families, TASKS))
    assert made == [0, 1]
    stored = [Cell.from_json(json.loads(json.dumps(cell.to_json()))) for cell in whole]
    kept: list[Cell] = []
    again = list(run(entrants, families, TASKS, stored=stored[:3], keep=kept.append))
    assert made == [0, 1, 1]
    assert [(cell.seed, cell.shots) for cell in kept] == [(1, 3)]
    for mine, yours in zip(again, whole, strict=True):
        assert mine.tasks_sha256 == yours.tasks_sha256
        assert torch.equal(mine.result.per_task, yours.result.per_task)
    for changed in (
        [dataclasses.replace(entrants[0], origin={"seed": "another"})],
        [dataclasses.replace(entrants[0], label="another")],
    ):
        kept.clear()
        list(run(changed, families, TASKS, stored=stored, keep=kept.append))
        assert len(kept) == 2
    kept.clear()
    list(run(entrants[:1], families, TASKS - 1, stored=stored, keep=kept.append))
    list(run(entrants[:1], with_shots(Blobs(seed=4), [1]), TASKS, stored=stored, keep=kept.append))
    assert len(kept) == 3


def test_an_evaluation_without_a_curve_is_made_again_where_one_is_asked_for() -> None:
    class Stepping(Fitter):
        def describe(self):
            return {"adapts": 1, "steps": 3}

    entrants, families = [Entrant("fit", None, Stepping)], with_shots(Lines(), None)
    short = list(run(entrants, families, 4, every_step=False))
    assert [len(cell.result.steps) for cell in short] == [1]
    whole = list(run(entrants, families, 4, stored=short))
    assert [len(cell.result.steps) for cell in whole] == [4]
    kept: list[Cell] = []
    assert list(run(entrants, families, 4, stored=whole, every_step=False, keep=kept.append)) == whole
    assert list(run(entrants, families, 4, stored=whole, keep=kept.append)) == whole
    assert not kept


def test_mistakes_are_found_before_any_evaluation() -> None:
    first = Guess(0)
    for bad, said in (
        (Fixed(lambda batch: torch.zeros(1, batch.tasks, 2, 3)), "must have shape"),
        (Fixed(lambda batch: torch.zeros(1, *batch.query_y.shape, 9)), "answers with 9 outputs, the tasks have 3"),
        (Fixed(lambda batch: 1 / 0), "ZeroDivisionError"),
        (NearestNeighbour(k=4), "k=4"),
    ):
        first.seen.clear()
        with pytest.raises(MetaftError, match="bad") as error:
            metaft.compare({"good": first, "bad": bad}, Blobs(), shots=[1], tasks=TASKS)
        assert said in str(error.value)
        assert [batch.tasks for batch in first.seen] == [1], "one task of rehearsal, and nothing else"


def test_what_cannot_be_compared() -> None:
    with pytest.raises(MetaftError, match="nothing to compare"):
        metaft.compare({}, Blobs())
    with pytest.raises(MetaftError, match="the baseline 'nearst' does not take part; did you mean 'nearest'"):
        metaft.compare({"nearest": NearestNeighbour()}, Blobs(), baseline="nearst")
    with pytest.raises(MetaftError, match="Lines has no shots to replace"):
        metaft.compare({"fit": LineFitter()}, Lines(), shots=[1])


def test_peak_memory_counts_every_time() -> None:
    for _ in range(2):
        with peak_memory() as peak:
            torch.ones(16 * 2**20).sum()
        if peak.added is None:
            pytest.skip("this system keeps no high-water mark that can be set back")
        assert 60 * 2**20 < peak.added < 90 * 2**20
    with peak_memory() as peak:
        pass
    assert peak.added is not None
    assert peak.added < 8 * 2**20
