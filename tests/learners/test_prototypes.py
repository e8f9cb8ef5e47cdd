"""Proto-MAML: begins as a prototypical network, for any number of ways, and its gradient goes through that start."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import metaft
from metaft.learners import build
from metaft.models import Conv4
from metaft.models.heads import with_cosine_head, without_head
from metaft.tasks.batch import IGNORE, TaskBatch

DOUBLE = torch.float64


def conv4(outputs=3):
    torch.manual_seed(0)
    return Conv4(1, 16, outputs, hidden=4).double()


def tasks(ways=3, shots=2, queries=2, count=3):
    torch.manual_seed(ways)
    draw = lambda n: torch.rand(count, n * ways, 1, 16, 16, dtype=DOUBLE)
    label = torch.arange(ways)
    return TaskBatch(draw(shots), label.repeat(count, shots), draw(queries), label.repeat(count, queries))


@pytest.mark.parametrize("batch_norm", ["transductive", "inductive"])
@pytest.mark.parametrize("ways", [2, 3, 7])
def test_before_the_first_step_it_answers_by_the_nearest_prototype(ways, batch_norm):
    """log-softmax of its scores is that of −‖f − μ_c‖² (Snell et al. 2017, eq. 2), at more and fewer ways as well."""
    model, batch = conv4(3), tasks(ways)
    answers = build("proto-maml", model, batch_norm=batch_norm).curve(batch)[0]
    assert answers.shape == (3, 2 * ways, ways)
    body = without_head(model).train()
    for task, (sx, sy, qx, _) in enumerate(zip(*batch.tensors(), strict=True)):
        means = torch.stack([body(sx)[sy == c].mean(0) for c in range(ways)])
        if batch_norm == "transductive":
            features = body(qx)
        else:
            learner = metaft.models.Functional(body, "inductive")
            features = learner.query(learner.params(), sx, qx)
        theirs = -torch.cdist(features, means).square()
        torch.testing.assert_close(answers[task].log_softmax(-1), theirs.log_softmax(-1).detach())


def test_the_gradient_goes_through_the_start_and_has_no_head():
    model, batch = conv4(), tasks()
    learner = build("proto-maml", model, steps=0)
    out = learner.meta_gradient(batch)
    assert not [n for n in (*learner.params, *out.grads) if n.startswith("head")]
    body = without_head(model).train()
    total = 0.0
    for sx, sy, qx, qy in zip(*batch.tensors(), strict=True):
        means = torch.stack([body(sx)[sy == c].mean(0) for c in range(3)])
        total = total + F.cross_entropy(-torch.cdist(body(qx), means).square(), qy) / 3
    torch.testing.assert_close(out.loss, total.detach())
    for name, value in zip(out.grads, torch.autograd.grad(total, list(body.parameters())), strict=True):
        torch.testing.assert_close(out.grads[name], value, rtol=1e-7, atol=1e-10)


def test_trained_at_seven_ways_it_answers_three():
    family = metaft.families.episodes("glyphs", ways=7, shots=1, queries=2, seed=0)
    model = metaft.models.build("conv4", outputs=7, input_shape=family.input_shape, seed=0, hidden=4)
    learner = build("proto-maml", model, rule="lslr", steps=2)
    assert torch.isfinite(learner.meta_gradient(family.batch(0, 2)).loss)
    fewer = metaft.families.episodes("glyphs", ways=3, shots=1, queries=2, seed=0)
    result = metaft.evaluate(learner, fewer, tasks=10)
    assert result.mean > 0.34


@pytest.mark.parametrize("steps", [0, 2])
def test_padding_is_left_out_and_a_class_without_examples_is_never_the_answer(steps):
    learner, batch = build("proto-maml", conv4(5), steps=steps), tasks(4)
    small = learner.curve(TaskBatch(*(t[:1] for t in batch.tensors())))
    ragged = [t.clone() for t in batch.tensors()]
    five = tasks(5, count=1)
    for place in (0, 2):  # beside it stands a task of five ways, so that the first is padded to that width
        n = five.tensors()[place].shape[1]
        x = torch.zeros(2, n, 1, 16, 16, dtype=DOUBLE)
        y = torch.full((2, n), IGNORE)
        x[0, : ragged[place].shape[1]], y[0, : ragged[place].shape[1]] = ragged[place][0], ragged[place + 1][0]
        x[1], y[1] = five.tensors()[place][0], five.tensors()[place + 1][0]
        ragged[place], ragged[place + 1] = x, y
    padded = learner.curve(TaskBatch(*ragged))
    kept = small.shape[2]
    torch.testing.assert_close(padded[:, 0, :kept, :4], small[:, 0])
    assert (padded[:, 0, :kept].log_softmax(-1)[..., 4] < -1000).all()
    assert learner.meta_gradient(TaskBatch(*ragged)).loss.isfinite()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"rule": "meta-sgd"}, "every row of the head"),
        ({"estimator": "reptile"}, "a start from the support set"),
        ({"objective": "l2"}, "one start for all tasks"),
        ({"scope": "all,!head"}, "begins from each task's support set"),
        ({"kind": "regression"}, "prototypes are of classes"),
    ],
)
def test_what_does_not_go_together_is_refused_at_once(options, says):
    with pytest.raises(metaft.MetaftError, match=says):
        build("proto-maml", conv4(), **options)


@pytest.mark.parametrize("model", [with_cosine_head(conv4(), 0), nn.Sequential(nn.Linear(2, 2, bias=False))])
def test_a_head_that_is_not_linear_with_biases_is_refused(model):
    with pytest.raises(metaft.MetaftError, match="linear head with biases"):
        build("proto-maml", model)
