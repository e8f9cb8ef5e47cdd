"""Students against plain autograd over an nn.Module in training mode; the teacher stays as it is, bit for bit."""

import copy

import pytest
import torch
import torch.nn.functional as F

from metaft.distillation.controls import permuted
from metaft.distillation.loss import DistillationLoss
from metaft.distillation.losses import soft_targets
from metaft.distillation.student import MAP, Student
from metaft.distillation.teacher import Teacher
from metaft.errors import MetaftError
from metaft.learners.supervised import Supervised
from metaft.models import Conv4
from metaft.tasks.batch import TaskBatch
from metaft.training.loop import meta_train
from tests.distillation.test_teacher import SHAPE, conv4, family


def plain_gradients(loss, model, batch, teacher):
    """Gradients of a mean over examples by ordinary backward, the student in training mode."""
    plain = copy.deepcopy(model).train()
    x, y = batch.query_x[:, 0], batch.query_y[:, 0]
    with torch.no_grad():
        taught = copy.deepcopy(teacher).eval()(x)
    loss(plain(x), y, taught, batch.rows).backward()
    return {name: parameter.grad for name, parameter in plain.named_parameters()}, dict(plain.named_buffers())


def soft(z, y, v, rows):
    return 9 * F.kl_div((z / 3).log_softmax(1), (v / 3).softmax(1), reduction="batchmean")


def weighted(z, y, v, rows):
    weights = v.softmax(1).amax(1)
    return (weights / weights.sum() * F.cross_entropy(z, y, reduction="none")).sum()


LOSSES = {
    "labels": (DistillationLoss(label_weight=1.0), lambda z, y, v, rows: F.cross_entropy(z, y)),
    "smoothed": (DistillationLoss(label_weight=1.0, label_smoothing=0.2),
                 lambda z, y, v, rows: F.cross_entropy(z, y, label_smoothing=0.2)),
    "soft": (DistillationLoss(temperature=3.0), soft),
    "mixed": (DistillationLoss(temperature=3.0, label_weight=0.3),
              lambda z, y, v, rows: 0.7 * soft(z, y, v, rows) + 0.3 * F.cross_entropy(z, y)),
    "logits": (DistillationLoss("logits"), lambda z, y, v, rows: (z - v).square().sum(1).mean() / 2),
    "cwtm": (DistillationLoss(control="cwtm"), weighted),
    "dkpp": (DistillationLoss(temperature=3.0, control="dkpp", seed=5),
             lambda z, y, v, rows: soft(z, y, permuted(v, rows, 5), rows)),
}  # fmt: skip


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_are_those_of_plain_backward(name):
    loss, expected = LOSSES[name]
    model, teacher = conv4(1), conv4(2)
    student = Student(model, loss=loss, teacher=Teacher(teacher, SHAPE))
    batch = family().batch(0, 8)
    out = student.meta_gradient(batch)
    gradients, buffers = plain_gradients(expected, model, batch, teacher)
    assert out.grads.keys() == gradients.keys()
    for parameter, value in gradients.items():
        torch.testing.assert_close(out.grads[parameter], value, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(out.losses.mean(), out.loss)
    for buffer, value in buffers.items():
        if value.is_floating_point():
            torch.testing.assert_close(student.params[buffer], value)  # running statistics moved along, once


def test_labels_alone_are_supervised_training_bit_for_bit():
    loss = DistillationLoss(label_weight=1.0)
    student, supervised = Student(conv4(), loss=loss), Supervised(conv4())
    batch = family().batch(0, 8)
    a, b = student.meta_gradient(batch), supervised.meta_gradient(batch)
    assert torch.equal(a.loss, b.loss)
    assert all(torch.equal(a.grads[name], b.grads[name]) for name in b.grads)


def test_moved_images_are_shown_to_both():
    teacher = conv4(2)
    student = Student(conv4(1), loss=DistillationLoss(temperature=3.0), teacher=Teacher(teacher, SHAPE))
    batch = family(shift=3).batch(0, 8)
    gradients, _ = plain_gradients(soft, conv4(1), batch, teacher)
    torch.testing.assert_close(student.meta_gradient(batch).grads["head.weight"], gradients["head.weight"])


@pytest.mark.parametrize("match", ["hidden", "hidden-cosine"])
@pytest.mark.parametrize("width", [3, 5])
def test_hidden_representations_are_matched_through_a_learned_map(match, width):
    torch.manual_seed(0)
    model, teacher = Conv4(1, 16, 4, hidden=width), Teacher(conv4(2), SHAPE, "features")
    student = Student(model, loss=DistillationLoss(match, label_weight=0.5), teacher=teacher)
    batch = family().batch(0, 8)
    out = student.meta_gradient(batch)
    plain = copy.deepcopy(model).train()
    head, plain.head = plain.head, torch.nn.Identity()
    own = plain(batch.query_x[:, 0])
    mapped = own
    if width == 5:
        mapped = own @ student.params[f"{MAP}.weight"].T + student.params[f"{MAP}.bias"]
    taught = teacher(batch)
    apart = (1 - F.cosine_similarity(mapped, taught)) if "cosine" in match else (mapped - taught).square().sum(1) / 2
    loss = 0.5 * apart.mean() + 0.5 * F.cross_entropy(head(own), batch.query_y[:, 0])
    torch.testing.assert_close(out.loss, loss.detach(), rtol=1e-4, atol=1e-5)
    loss.backward()
    for name, parameter in plain.named_parameters():
        torch.testing.assert_close(out.grads[name], parameter.grad, rtol=1e-3, atol=1e-5)
    assert (f"{MAP}.weight" in out.grads) == (width == 5)
    assert student.network().keys() == Supervised(model).params.keys()
    assert student.curve(batch).shape == (1, 8, 1, 4)  # the map is no part of the network


def test_a_teacher_is_bit_identical_after_a_generation(tmp_path):
    model = conv4(2).train()
    teacher = Teacher(model, SHAPE)
    before = copy.deepcopy([m.state_dict() for m in (model, *teacher.models)])
    student = Student(model, loss=DistillationLoss(label_weight=0.5), teacher=teacher)
    meta_train(student, family(), 12, 8, out=tmp_path / "run", progress=False, log_every=5)
    assert student.module is not model
    assert student.module is not teacher.models[0]
    assert not torch.equal(student.params["head.weight"], model.head.weight)
    for module, state in zip((model, *teacher.models), before, strict=True):
        assert all(torch.equal(value, state[name]) for name, value in module.state_dict().items())
    assert not teacher.models[0].training


def test_a_student_learns_its_teachers_answers_without_labels(tmp_path):
    teacher = Teacher(conv4(2), SHAPE)
    student = Student(conv4(1), loss=DistillationLoss(temperature=2.0), teacher=teacher)
    batch = family().batch(0, 20)
    taught = teacher(batch)

    def apart():
        return float(soft_targets(student.curve(batch)[0, :, 0], taught, 1.0).mean())

    before = apart()
    meta_train(student, family(), 150, 20, out=tmp_path / "run", progress=False, outer_lr=0.01)
    assert apart() < 0.3 * before


def test_what_identifies_it_names_loss_and_teacher():
    teacher = Teacher(conv4(2), SHAPE)
    found = Student(conv4(1), loss=DistillationLoss(temperature=2.0), teacher=teacher).describe()
    assert (found["temperature"], found["teacher"], found["learner"]) == (2.0, teacher.digest, "student")
    assert "teacher" not in Student(conv4(1), loss=DistillationLoss(label_weight=1.0), teacher=teacher).describe()


@pytest.mark.parametrize(("settings", "message"), [
    ({"match": "sof"}, "unknown match 'sof'; did you mean 'soft'"),
    ({"control": "dkp"}, "unknown control 'dkp'; did you mean 'dkpp'"),
    ({"temperature": 0}, "temperature must be a number above 0, not 0"),
    ({"label_weight": 1.2}, r"label_weight must lie in \[0, 1\], not 1.2"),
    ({"label_smoothing": 1}, r"label_smoothing must lie in \[0, 1\), not 1"),
    ({"match": "hidden"}, "label_weight must be above 0"),
    ({"match": "hidden", "label_weight": 0.5, "control": "dkpp"}, "is of a teacher's scores"),
])  # fmt: skip
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(MetaftError, match=message):
        DistillationLoss(**settings)


def test_teachers_that_do_not_fit_are_refused():
    with pytest.raises(MetaftError, match=r"label_weight = 0\.5: below 1 a teacher is needed"):
        Student(conv4(), loss=DistillationLoss(label_weight=0.5))
    with pytest.raises(MetaftError, match="student tells 4 classes apart and the teacher 5"):
        Student(conv4(), loss=DistillationLoss(), teacher=Teacher(conv4(classes=5), SHAPE))


def test_permuted_scores_want_to_know_which_examples():
    student = Student(conv4(), loss=DistillationLoss(control="dkpp"), teacher=Teacher(conv4(2), SHAPE))
    batch = TaskBatch(*family().batch(0, 4).tensors())
    with pytest.raises(MetaftError, match="which examples they hold"):
        student.meta_gradient(batch)
