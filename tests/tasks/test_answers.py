"""Scores of −inf are scores; NaN and +inf are no answers, wherever something is scored."""

from __future__ import annotations

import contextlib
import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import metaft
from metaft.data.images import LabelledImages
from metaft.distillation.bias import bias_correction
from metaft.distillation.controls import confidence_weights
from metaft.distillation.losses import soft_targets
from metaft.distillation.teacher import mean_probabilities
from metaft.evaluation.calibration import agreement
from metaft.evaluation.comparison_report import note, table_rows
from metaft.evaluation.episode_plot import episode_figure
from metaft.evaluation.evaluate import evaluate, score
from metaft.evaluation.held_out import measure
from metaft.evaluation.peak_memory import Peak
from metaft.evaluation.soft_label_plot import draw_soft_labels
from metaft.evaluation.validation import losses, validate
from metaft.learners import NearestNeighbour
from metaft.tasks.answers import answered, log_probabilities, probabilities
from metaft.tasks.batch import TaskBatch
from tests.evaluation.toys import Blobs, Fixed

INF, NAN = math.inf, math.nan


@pytest.fixture(autouse=True)
def _memory_unmeasured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its collection of garbage takes far longer than these small evaluations."""
    monkeypatch.setattr("metaft.evaluation.benchmark.peak_memory", lambda: contextlib.nullcontext(Peak()))


def votes(batch: TaskBatch, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """One neighbour's vote: a share of 1 for its class and of 0 for all others, ``[1, tasks, queries, ways]``."""
    nearest = torch.cdist(batch.query_x, batch.support_x).argmin(-1)
    return F.one_hot(batch.support_y.gather(1, nearest), 3).to(dtype)[None]


class Voting(Fixed):
    """As `Fixed`, and it answers once as well."""

    def adapt(self, support_x, support_y):
        return lambda query_x: self.curve(TaskBatch(support_x, support_y, query_x, support_y))[-1]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_logarithms_of_votes_score_as_the_votes_do(dtype: torch.dtype) -> None:
    """Fault 39: log 0 = −inf made every query wrong."""
    plain = evaluate(Fixed(votes), Blobs(), tasks=60)
    logs = evaluate(Fixed(lambda batch: votes(batch, dtype).log()), Blobs(), tasks=60)
    assert plain.mean > 0.5
    assert logs.per_task.tolist() == plain.per_task.tolist()
    assert logs.diverged == 0


def test_in_a_comparison_they_are_equal_and_what_is_no_answer_is_counted() -> None:
    def broken(batch: TaskBatch) -> torch.Tensor:
        scores = votes(batch)
        scores[0, 0, 0, 0] = NAN if batch.tasks > 1 else 0.0
        return scores

    ways = {"votes": Voting(votes), "logs": Voting(lambda batch: votes(batch).log()), "broken": Voting(broken)}
    compared = metaft.compare(ways, Blobs(), tasks=70)
    _, logs, bad = compared.rows(2)
    assert (logs.gap.mean, logs.verdict, logs.score.diverged) == (0.0, "", 0)
    assert (bad.score.count, bad.score.diverged) == (70, 2), "the first task of each batch"
    heads, rows = table_rows(compared, 2)
    assert [row[heads.index("diverged")] for row in rows] == ["0", "0", "2"]
    assert "NaN or +inf" in note(compared)


@pytest.mark.parametrize(
    ("scores", "answer", "none"),
    [
        ([-INF, 0.0, -INF], 1, False),
        ([-INF, -INF, -3.0], 2, False),
        ([-INF, -INF, -INF], 0, False),
        ([1.0, NAN, 0.0], None, True),
        ([1.0, INF, 0.0], None, True),
        ([-INF, NAN, -INF], None, True),
    ],
)
def test_the_class_answered(scores: list[float], answer: int | None, none: bool) -> None:
    given, missing = answered(torch.tensor(scores))
    assert bool(missing) is none
    assert answer is None or int(given) == answer


def test_a_class_without_an_example_is_not_answered_even_if_all_others_cannot_be() -> None:
    allowed = torch.tensor([False, True, True])
    assert int(answered(torch.full((3,), -INF), allowed)[0]) == 1
    scores = torch.full((1, 1, 1, 3), -INF)
    _, right, bad = score(scores, torch.tensor([[1]]), torch.tensor([[1, 2]]))
    assert (right.item(), bad.item()) == (1.0, False)


def test_probabilities_of_what_cannot_be() -> None:
    told = probabilities(torch.tensor([[-INF, 0.0, 0.0], [-INF] * 3]))
    torch.testing.assert_close(told, torch.tensor([[0, 0.5, 0.5], [1 / 3] * 3]))
    logs = log_probabilities(torch.tensor([[-INF, 0.0, 0.0]], requires_grad=True))
    assert logs[0, 0] == -INF


def test_loss_and_validation() -> None:
    logs = Fixed(lambda batch: votes(batch).log())
    nothing = torch.full((1, 1, 3), -INF)
    assert losses("classification", nothing, torch.tensor([[1]])).item() == pytest.approx(math.log(3))
    family = Blobs()
    found = validate(logs, family, 40)  # type: ignore[arg-type]
    assert found.metric == pytest.approx(evaluate(Fixed(votes), family, tasks=40).mean)
    assert not found.more
    broken = validate(Fixed(lambda batch: votes(batch) * NAN), family, 40)  # type: ignore[arg-type]
    assert (broken.metric, broken.more) == (0.0, {"diverged": 40})


def test_held_out_examples() -> None:
    labels = torch.tensor([0, 1, 2, 0])
    scores = torch.tensor([[0.0, -INF, -INF], [-INF, 0.0, -INF], [0.0, 0.0, NAN], [INF, 0.0, 0.0]])
    found = measure(scores, labels, scores)
    assert (found.errors, found.unanswered, found.accuracy) == (2, 2, 0.5)
    assert found.agreement == 0.5, "what is no answer agrees with nothing"
    sure = measure(scores[:2], labels[:2])
    assert (sure.loss, sure.ece, sure.entropy, sure.unanswered) == (0.0, 0.0, 0.0, 0)
    undecided = measure(torch.full((1, 4), -INF), torch.tensor([0]))
    assert undecided.loss == pytest.approx(math.log(4))
    assert undecided.entropy == pytest.approx(math.log(4))
    assert undecided.ece == pytest.approx(0.75)
    assert float(agreement(scores, scores)) == 0.5


def test_ensembles_and_teachers() -> None:
    members = torch.tensor([[[0.0, -INF, -INF]], [[-INF, -INF, 0.0]], [[-INF] * 3]])
    expected = torch.tensor([[1 + 1 / 3, 1 / 3, 1 + 1 / 3]]) / 3
    torch.testing.assert_close(mean_probabilities(members).exp(), expected)
    torch.testing.assert_close(confidence_weights(members[:, 0]), torch.tensor([1, 1, 1 / 3]) / (2 + 1 / 3))


def test_a_student_is_taught_that_a_class_cannot_be() -> None:
    teacher = torch.tensor([[-INF, 1.0, 0.0]], dtype=torch.float64)
    student = torch.tensor([[0.3, 0.2, 0.1]], dtype=torch.float64, requires_grad=True)
    loss = soft_targets(student, teacher, 2.0)
    q, p = (teacher / 2).softmax(-1), (student / 2).softmax(-1)
    assert loss.detach().item() == pytest.approx(4 * float((q[0, 1:] * (q[0, 1:] / p[0, 1:]).log()).sum().detach()))
    (gradient,) = torch.autograd.grad(loss.sum(), student)
    torch.testing.assert_close(gradient, 2 * (p - q).detach())
    alike = torch.tensor([[-INF, 0.4, 0.1]], dtype=torch.float64, requires_grad=True)
    loss = soft_targets(alike, teacher, 2.0)
    assert bool(loss.isfinite().all())
    assert bool(torch.autograd.grad(loss.sum(), alike)[0].isfinite().all())


def test_the_bias_of_a_class_that_cannot_be_is_finite() -> None:
    scores = torch.tensor([[0.0, -INF], [0.0, -2.0], [0.0, -1.0], [-INF, 0.0]])
    assert math.isfinite(bias_correction(scores, torch.tensor([0, 1, 1, 1]), 1))
    assert bias_correction(torch.tensor([[0.0, -INF]] * 3), torch.tensor([0, 1, 0]), 1) == 0.0


def test_pictures(tmp_path: Path) -> None:
    images = LabelledImages(torch.zeros(4, 1, 8, 8, dtype=torch.uint8), torch.tensor([2, 2]), ("a", "b"))
    assert not draw_soft_labels(images, torch.full((4, 2), NAN), 1.0, tmp_path / "none.png")
    assert draw_soft_labels(images, torch.tensor([[0.0, -INF], [0.0, -1.0]] * 2), 1.0, tmp_path / "some.png")
    x, y = torch.zeros(1, 2, 1, 8, 8), torch.tensor([[0, 1]])
    figure = episode_figure(TaskBatch(x, y, x, y), torch.tensor([[[0.0, -INF], [NAN, 0.0]]]))
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert "–" in texts
    assert any("1 of 2 right" in text for text in texts)


def test_nearest_neighbour_is_as_before() -> None:
    assert np.isfinite(evaluate(NearestNeighbour(), Blobs(), tasks=5).mean)
