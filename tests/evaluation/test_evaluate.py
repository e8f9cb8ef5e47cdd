import json
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from metaft.errors import MetaftError
from metaft.evaluation.evaluate import BLOCK, draw, evaluate, evaluate_batches
from metaft.inner.rules import SGD
from metaft.learners.maml import MAML
from metaft.learners.nearest_neighbour import NearestNeighbour
from tests.evaluation.toys import Blobs, Fixed, LineFitter, Lines


def joined(batches):
    return [torch.cat(column) for column in zip(*(batch.tensors() for batch in batches), strict=True)]


def knowing(wrong_until):
    """Answers right, except for the first queries of each task."""

    def answer(batch):
        truth = batch.query_y.clone()
        truth[:, :wrong_until] += 1
        return F.one_hot(truth % 3, 3).float().unsqueeze(0)

    return answer


def test_accuracy_counts_right_answers():
    result = evaluate(Fixed(knowing(3)), Blobs(), tasks=7)
    assert result.metric == "accuracy"
    assert result.per_task.tolist() == [9 / 12] * 7
    assert (result.mean, result.ci95, result.diverged, result.tasks) == (0.75, 0.0, 0, 7)


def test_regression_agrees_with_numpy_step_by_step():
    learner, family = LineFitter(), Lines()
    result = evaluate(learner, family, tasks=60, steps=2)
    batches = [family.batch(0, BLOCK), family.batch(1, BLOCK)[:10]]
    sx, sy, qx, qy = (column.numpy() for column in joined(batches))
    slope = np.zeros((60, 1, 1))
    for mean, _ in result.per_step:
        assert mean == pytest.approx(np.mean((slope * qx - qy) ** 2), rel=1e-5)
        slope = slope - 2 * learner.rate * ((slope * sx - sy) * sx).mean(1, keepdims=True)
    assert len(result.per_step) == 3
    assert result.metric == "mse"
    assert result.mean < result.per_step[0][0]


def test_tasks_do_not_depend_on_the_batch_size():
    whole = joined(draw(Blobs(), 120))
    expected = [column[:120] for column in joined(Blobs().batch(i, BLOCK) for i in range(3))]
    assert all(torch.equal(a, b) for a, b in zip(whole, expected, strict=True))
    for size in (1, 7, 50, 64, 1000):
        batches = list(draw(Blobs(), 120, size))
        assert [b.tasks for b in batches[:-1]] == [size] * (len(batches) - 1)
        assert all(torch.equal(a, b) for a, b in zip(whole, joined(batches), strict=True))


def test_fewer_tasks_are_the_first_of_more():
    few, many = (evaluate(LineFitter(), Lines(), tasks=n, batch_size=b) for n, b in ((33, 8), (120, 50)))
    torch.testing.assert_close(few.per_task, many.per_task[:33])


def test_no_block_is_drawn_twice():
    drawn = []

    class Counting(Blobs):
        def batch(self, index, tasks):
            drawn.append((index, tasks))
            return super().batch(index, tasks)

    evaluate(NearestNeighbour(), Counting(), tasks=110, batch_size=20)
    assert drawn == [(0, BLOCK), (1, BLOCK), (2, BLOCK)]


def test_no_graph_is_kept_and_parameters_stay():
    learner = LineFitter()
    before = learner.params["slope"].detach().clone()
    result = evaluate(learner, Lines(), tasks=20)
    assert not result.per_task.requires_grad
    assert torch.equal(learner.params["slope"], before)
    assert learner.params["slope"].grad is None


def test_seed_draws_other_tasks():
    a, b, c = (evaluate(LineFitter(), Lines(), tasks=20, seed=s).per_task for s in (None, 0, 1))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)
    assert evaluate(LineFitter(), Lines(), tasks=5, seed=3).family["seed"] == 3


def test_a_family_without_a_seed_cannot_be_reseeded():
    class Fixed9:
        seed = 9

    with pytest.raises(MetaftError, match="Fixed9 has no seed"):
        evaluate(NearestNeighbour(), Fixed9(), seed=1)


def test_non_finite_answers_are_wrong_and_named():
    def answer(batch):
        scores = F.one_hot(batch.query_y, 3).float()
        scores[2, 0, 1] = math.nan
        scores[4, :, 0] = math.inf
        return scores.unsqueeze(0)

    result = evaluate(Fixed(answer), Blobs(), tasks=6)
    assert result.diverged_tasks == (2, 4)
    assert result.diverged == 2
    assert result.per_task.tolist() == [1, 1, 11 / 12, 1, 0, 1]
    assert result.mean == pytest.approx((4 + 11 / 12) / 6)


def test_diverged_regressions_leave_the_mean():
    def answer(batch):
        values = batch.query_y.clone()
        values[1] = math.nan
        values[2] += 8
        values[3] += 1
        return values.unsqueeze(0)

    result = evaluate(Fixed(answer), Lines(), tasks=5)
    assert result.diverged_tasks == (1, 2)
    assert result.mean == pytest.approx(1 / 3)
    page = result.to_json()
    assert json.loads(json.dumps(page, allow_nan=False)) == page
    assert page["per_task"][1] is None
    assert page["diverged"] == 2


def test_ties_go_to_the_lowest_label():
    result = evaluate(Fixed(lambda b: torch.zeros(1, b.tasks, b.query_y.shape[1], 3)), Blobs(), tasks=4)
    assert result.per_task.tolist() == [pytest.approx(1 / 3)] * 4


def test_mode_is_reported():
    assert evaluate(Fixed(knowing(0), transductive=True), Blobs(), tasks=2).mode == "transductive"
    assert evaluate(Fixed(knowing(0)), Blobs(), tasks=2).to_json()["mode"] == "inductive"


def test_progress_counts_tasks():
    seen = []
    evaluate(NearestNeighbour(), Blobs(), tasks=25, batch_size=10, progress=lambda *now: seen.append(now))
    assert seen == [(10, 25), (20, 25), (25, 25)]


def test_ready_made_tasks_score_as_drawn_ones():
    family = Blobs()
    given = evaluate_batches(NearestNeighbour(), [family.batch(0, BLOCK)], BLOCK, family={"family": "given"})
    assert torch.equal(given.per_task, evaluate(NearestNeighbour(), family, tasks=BLOCK).per_task)
    with pytest.raises(MetaftError, match="no tasks"):
        evaluate_batches(NearestNeighbour(), [], 0, family={})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tasks": 0}, "tasks must be a whole number of at least 1, not 0"),
        ({"tasks": 2.5}, "tasks must be a whole number of at least 1, not 2.5"),
        ({"steps": -1}, "steps must be a whole number of at least 0, not -1"),
        ({"batch_size": 0}, "batch_size must be"),
    ],
)
def test_senseless_counts_are_refused(options, message):
    with pytest.raises(MetaftError, match=message):
        evaluate(LineFitter(), Lines(), **options)


def test_answers_that_do_not_fit_are_refused():
    # Without the check [tasks, queries] against [tasks, queries, 1] would broadcast to a wrong error.
    with pytest.raises(MetaftError, match=r"is \[1, 3, 5\]; expected .*\[steps \+ 1, 3, 5, 1\]"):
        evaluate(Fixed(lambda b: b.query_y.squeeze(-1).unsqueeze(0)), Lines(), tasks=3)
    with pytest.raises(MetaftError, match="tells 2 classes apart, the tasks have at least 3"):
        evaluate(Fixed(lambda b: torch.zeros(1, b.tasks, 12, 2)), Blobs(), tasks=3)


@pytest.mark.parametrize("batch_norm", ["transductive", "inductive"])
def test_maml_is_unchanged_by_evaluation_and_its_score_by_the_batch_size(batch_norm):
    torch.manual_seed(0)
    network = torch.nn.Sequential(
        torch.nn.Linear(2, 16), torch.nn.BatchNorm1d(16), torch.nn.ReLU(), torch.nn.Linear(16, 3)
    )
    learner = MAML(network, SGD(lr=0.5), steps=2, batch_norm=batch_norm)
    before = {name: value.detach().clone() for name, value in learner.params.items()}
    whole, split = (evaluate(learner, Blobs(), tasks=30, steps=3, batch_size=size) for size in (30, 7))
    assert whole.mode == batch_norm
    assert len(whole.per_step) == 4
    assert whole.per_step[3][0] > whole.per_step[0][0] + 0.1
    torch.testing.assert_close(whole.per_task, split.per_task, atol=1 / 12 + 1e-9, rtol=0)
    assert split.mean == pytest.approx(whole.mean, abs=0.01)
    assert all(torch.equal(before[name], value) for name, value in learner.params.items())
