"""Learning from an adapted teacher: the gradient by a plain loop, labels alone are plain MAML, padding, mistakes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

import metaft
from metaft.distillation.taught_meta_learner import Distilled, TeacherLoss
from metaft.errors import MetaftError
from metaft.learners import MAML, NearestNeighbour
from metaft.learners.answering import last_answers
from metaft.learners.metric.protonet import protonet
from metaft.tasks.batch import IGNORE, TaskBatch
from metaft.tasks.soft_targets import labels_of, packed, unpacked

WAYS, INPUTS, RATE = 3, 4, 0.3


def network(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(INPUTS, 6), nn.Tanh(), nn.Linear(6, WAYS)).double()


def maml(seed: int, steps: int, **options: object) -> MAML:
    return MAML(network(seed), metaft.SGD(lr=RATE), steps, **options)  # type: ignore[arg-type]


def tasks(count: int = 3, queries: int = 7) -> TaskBatch:
    draw = torch.Generator().manual_seed(5)
    x = lambda examples: torch.randn(count, examples, INPUTS, generator=draw, dtype=torch.float64)
    y = lambda examples: torch.randint(0, WAYS, (count, examples), generator=draw)
    return TaskBatch(x(5), y(5), x(queries), y(queries))


def adapted(model: nn.Module, params: dict[str, Tensor], x: Tensor, y: Tensor, steps: int) -> dict[str, Tensor]:
    for _ in range(steps):
        loss = nn.functional.cross_entropy(functional_call(model, params, (x,)), y)
        grads = torch.autograd.grad(loss, list(params.values()), create_graph=True)
        params = {name: p - RATE * g for (name, p), g in zip(params.items(), grads, strict=True)}
    return params


@pytest.mark.parametrize("temperature", [1.0, 4.0])
@pytest.mark.parametrize("weight", [0.0, 0.3])
def test_the_gradient_is_that_of_a_plain_loop(weight: float, temperature: float) -> None:
    student, teacher, batch = maml(0, 1), maml(1, 3), tasks()
    found = Distilled(student, teacher, temperature=temperature, label_weight=weight).meta_gradient(batch)

    model, other = network(0), network(1)
    leaves = dict(model.named_parameters())
    losses = []
    for sx, sy, qx, qy in zip(*batch.tensors(), strict=True):
        slow = adapted(other, dict(other.named_parameters()), sx, sy, 3)
        p = (functional_call(other, slow, (qx,)) / temperature).softmax(-1).detach()
        scores = functional_call(model, adapted(model, leaves, sx, sy, 1), (qx,))
        q = (scores / temperature).softmax(-1)
        divergence = (p * (p.log() - q.log())).sum() / len(qx)
        right = -scores.softmax(-1)[torch.arange(len(qx)), qy].log().mean()
        losses.append((1 - weight) * temperature**2 * divergence + weight * right)
    loss = torch.stack(losses).mean()
    grads = dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True))
    torch.testing.assert_close(found.loss, loss.detach(), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(found.losses, torch.stack(losses).detach(), rtol=1e-12, atol=1e-12)
    for name, grad in grads.items():
        torch.testing.assert_close(found.grads[name], grad, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("estimator", ["exact", "first-order", "finite-difference"])
def test_with_labels_alone_it_is_plain_maml_bit_for_bit(estimator: str) -> None:
    batch = tasks()
    plain = maml(0, 2, estimator=estimator).meta_gradient(batch)
    found = Distilled(maml(0, 2, estimator=estimator), maml(1, 3), label_weight=1).meta_gradient(batch)
    assert torch.equal(found.losses, plain.losses)
    assert all(torch.equal(found.grads[name], grad) for name, grad in plain.grads.items())


def test_a_teacher_that_agrees_leaves_the_labels_share_alone() -> None:
    """The divergence from oneself is 0, and so is its gradient: only w times the labels' gradient is left."""
    batch = tasks()
    plain = maml(0, 2).meta_gradient(batch)
    found = Distilled(maml(0, 2), maml(0, 2), temperature=2, label_weight=0.25).meta_gradient(batch)
    for name, grad in plain.grads.items():
        torch.testing.assert_close(found.grads[name], 0.25 * grad, rtol=1e-9, atol=1e-12)


def test_padding_is_left_out() -> None:
    batch, count = tasks(queries=7), 4
    keep = torch.arange(7) < count
    padded = TaskBatch(batch.support_x, batch.support_y, batch.query_x, batch.query_y.where(keep, IGNORE))
    short = TaskBatch(batch.support_x, batch.support_y, batch.query_x[:, :count], batch.query_y[:, :count])
    of = lambda b: Distilled(maml(0, 1), maml(1, 3), label_weight=0.3).meta_gradient(b)
    torch.testing.assert_close(of(padded).losses, of(short).losses, rtol=1e-12, atol=1e-12)
    for name, grad in of(short).grads.items():
        torch.testing.assert_close(of(padded).grads[name], grad, rtol=1e-12, atol=1e-12)


def test_with_batch_norm_padding_stays_out_of_the_statistics() -> None:
    def student() -> MAML:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(INPUTS, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Linear(6, WAYS)).double()
        return MAML(model, metaft.SGD(lr=RATE), 1)

    batch = tasks(queries=7)
    blank = lambda y, n: y.where(torch.arange(y.shape[1]) < n, IGNORE)
    padded = TaskBatch(batch.support_x, blank(batch.support_y, 4), batch.query_x, blank(batch.query_y, 5))
    short = TaskBatch(batch.support_x[:, :4], batch.support_y[:, :4], batch.query_x[:, :5], batch.query_y[:, :5])
    of = lambda b: Distilled(student(), maml(1, 3), label_weight=0.3).meta_gradient(b).losses
    # The teacher has no batch norm: padding is nothing to it but labels to ignore.
    torch.testing.assert_close(of(padded), of(short), rtol=1e-9, atol=1e-9)


def test_the_teacher_is_frozen_and_only_the_student_answers() -> None:
    student, teacher, batch = maml(0, 1), maml(1, 3), tasks()
    before = {name: value.clone() for name, value in teacher.params.items()}
    learner = Distilled(student, teacher, told={"teacher": "runs/slow"})
    out = learner.meta_gradient(batch)
    learner.params = {name: value - 0.1 * out.grads[name] for name, value in learner.params.items()}
    assert all(torch.equal(teacher.params[name], value) for name, value in before.items())
    assert student.params is learner.params
    assert torch.equal(learner.curve(batch), student.curve(batch))
    answers = learner.adapt(batch.support_x, batch.support_y)(batch.query_x)
    torch.testing.assert_close(answers, student.curve(batch)[-1])
    told = learner.describe()
    assert (told["teacher"], told["teacher_steps"], told["steps"], told["temperature"]) == ("runs/slow", 3, 1, 4.0)
    assert len(learner.adjoint_norms(batch)) == 2


def test_targets_carry_the_teachers_answers_and_the_labels() -> None:
    teacher, batch = maml(1, 3), tasks()
    targets = Distilled(maml(0, 1), teacher).taught(batch).query_y
    scores, labels = unpacked(targets)
    assert torch.equal(scores, last_answers(teacher, batch)[0])
    assert torch.equal(labels, batch.query_y)
    assert torch.equal(labels_of(targets[0]), batch.query_y[0])
    assert torch.equal(labels_of(batch.query_y[0]), batch.query_y[0])
    marked = torch.tensor([IGNORE, 2])
    assert torch.equal(unpacked(packed(torch.zeros(2, 3), marked))[1], marked)


def test_a_learner_that_compares_is_taught_too() -> None:
    """ProtoNet's scores and gradient of the same loss by plain autograd."""
    batch, teacher = tasks(), maml(1, 3)
    batch = TaskBatch(batch.support_x, torch.arange(5).expand(3, 5) % WAYS, batch.query_x, batch.query_y)
    student = protonet(network(0))
    found = Distilled(student, teacher, temperature=2, label_weight=0.3).meta_gradient(batch)
    body = network(0)[:2]
    losses = []
    answers = last_answers(teacher, batch)[0]
    for (sx, sy, qx, qy), slow in zip(zip(*batch.tensors(), strict=True), answers, strict=True):
        means = torch.stack([body(sx)[sy == c].mean(0) for c in range(WAYS)])
        scores = -torch.cdist(body(qx), means).square()
        divergence = nn.functional.kl_div((scores / 2).log_softmax(-1), (slow / 2).softmax(-1), reduction="batchmean")
        losses.append(0.7 * 4 * divergence + 0.3 * nn.functional.cross_entropy(scores, qy))
    torch.testing.assert_close(found.losses, torch.stack(losses).detach(), rtol=1e-9, atol=1e-9)
    torch.stack(losses).mean().backward()
    torch.testing.assert_close(found.grads["network.0.weight"], body[0].weight.grad, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Distilled(maml(0, 1), maml(1, 3), temperature=0), "temperature"),
        (lambda: Distilled(maml(0, 1), maml(1, 3), label_weight=1.5), "label_weight"),
        (lambda: Distilled(maml(0, 1, estimator="reptile"), maml(1, 3)), "reptile"),
        (lambda: Distilled(NearestNeighbour(), maml(1, 3)), "no query loss"),  # type: ignore[arg-type]
        (lambda: Distilled(maml(0, 1, kind="regression"), maml(1, 3)), "regression"),
        (lambda: TeacherLoss(float("nan"), 0.5), "temperature"),
    ],
)
def test_mistakes_are_one_line(make: object, words: str) -> None:
    with pytest.raises(MetaftError, match=words) as error:
        make()  # type: ignore[operator]
    assert "\n" not in str(error.value)


def test_no_learner_teaches_itself() -> None:
    own = maml(0, 1)
    with pytest.raises(MetaftError, match="own teacher"):
        Distilled(own, own)
