"""Each comparison against its formula: a plain loop, scikit-learn, finite differences."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge

from metaft.learners.metric.full_context import ContextAttention, FullContext
from metaft.learners.metric.in_context_transformer import SupportSetTransformer
from metaft.learners.metric.matching import Attention
from metaft.learners.metric.protonet import PrototypeDistance
from metaft.learners.metric.r2d2 import LEAST, RidgeHead, ridge
from metaft.tasks.batch import IGNORE
from tests.learners.metric.episodes import features

LOWEST = torch.finfo(torch.float64).min


def comparison(name, width=4):
    torch.manual_seed(0)
    made = {
        "euclidean": lambda: PrototypeDistance(),
        "cosine": lambda: PrototypeDistance("cosine"),
        "attention": lambda: Attention(),
        "scaled": lambda: Attention(10.0, learned=True),
        "context": lambda: ContextAttention(FullContext(width, 3), Attention()),
        "sum": lambda: RidgeHead(0.5),
        "mean": lambda: RidgeHead(0.5, "mean"),
        "fixed": lambda: RidgeHead(0.5, "mean", fixed=True),
        "transformer": lambda: SupportSetTransformer(width, None, 2, 8, 2),
    }
    return made[name]().double()


UNORDERED = ("euclidean", "cosine", "attention", "scaled", "sum", "mean", "fixed", "transformer")
ALL = (*UNORDERED, "context")


def test_prototypes_by_a_plain_loop():
    x, y, q = features()
    scores = comparison("euclidean")(x, y, q, 3)
    cosines = comparison("cosine")(x, y, q, 3)
    for task in range(2):
        for query in range(5):
            for way in range(3):
                mean, asked = x[task][y[task] == way].mean(0), q[task, query]
                torch.testing.assert_close(scores[task, query, way], -((asked - mean) ** 2).sum())
                cosine = asked @ mean / asked.norm() / mean.norm()
                torch.testing.assert_close(cosines[task, query, way], 10 * cosine)


@pytest.mark.parametrize(("name", "scale"), [("attention", 1.0), ("scaled", 10.0)])
def test_attention_by_a_plain_loop(name, scale):
    x, y, q = features()
    scores = comparison(name)(x, y, q, 3)
    for task in range(2):
        for query in range(5):
            asked = q[task, query]
            weights = torch.stack([torch.exp(scale * (asked @ s) / asked.norm() / s.norm()) for s in x[task]])
            for way in range(3):
                share = weights[y[task] == way].sum() / weights.sum()
                torch.testing.assert_close(scores[task, query, way].exp(), share)
    torch.testing.assert_close(scores.softmax(-1), scores.exp())  # they are log-probabilities already


def test_the_support_set_in_context_is_torchs_bidirectional_lstm():
    x, y, q = features()
    context = comparison("context").context
    lstm = torch.nn.LSTM(4, 4, batch_first=True, bidirectional=True).double()
    for cell, end in ((context.forwards, ""), (context.backwards, "_reverse")):
        # Torch's gates come in the order input, forget, cell, output, and have two biases.
        own = {"weight_ih_l0": cell.gates.weight[:, :4], "weight_hh_l0": cell.gates.weight[:, 4:]}
        own |= {"bias_ih_l0": cell.gates.bias, "bias_hh_l0": torch.zeros(16)}
        for name, value in own.items():
            getattr(lstm, name + end).data.copy_(value)
    found, _ = context(x, y != IGNORE, q)
    torch.testing.assert_close(found, x + sum(lstm(x)[0].tensor_split(2, -1)))


def test_a_query_reads_the_support_set_as_in_appendix_a():
    x, y, q = features()
    context = comparison("context").context
    known, found = context(x, y != IGNORE, q)
    weight, bias = context.reading.gates.weight, context.reading.gates.bias
    for task in range(2):
        for asked, got in zip(q[task], found[task], strict=True):
            h, c = torch.zeros(4).double(), torch.zeros(4).double()
            for _ in range(3):
                weights = torch.stack([torch.exp(h @ g) for g in known[task]])
                r = sum(w * g for w, g in zip(weights / weights.sum(), known[task], strict=True))
                i, f, g, o = (weight @ torch.cat([asked, h, r]) + bias).split(4)
                c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
                h = torch.sigmoid(o) * torch.tanh(c) + asked
            torch.testing.assert_close(got, h)


def test_full_context_embeddings_compare_what_was_put_in_context():
    x, y, q = features()
    made = comparison("context")
    known, asked = made.context(x, y != IGNORE, q)
    torch.testing.assert_close(made(x, y, q, 3), comparison("attention")(known, y, asked, 3))
    order = torch.tensor([4, 1, 0, 5, 3, 2])
    assert not torch.allclose(made(x[:, order], y[:, order], q, 3), made(x, y, q, 3)), "the order is read"


@pytest.mark.parametrize(("fit", "support"), [("sum", 3), ("sum", 12), ("mean", 3), ("mean", 12)])
def test_ridge_is_scikit_learns(fit, support):
    x, y, q = features(support=support)
    scores = comparison(fit)(x, y, q, 3)
    for task in range(2):
        # The bias is penalised like a weight: a constant feature.
        plain = Ridge(alpha=(0.5 + LEAST) * (support if fit == "mean" else 1), fit_intercept=False)
        one = lambda rows: np.c_[rows.numpy(), np.ones(len(rows))]
        plain.fit(one(x[task]), np.eye(3)[y[task]])
        torch.testing.assert_close(scores[task], torch.tensor(10 * plain.predict(one(q[task]))))


def test_woodbury_is_the_normal_equations():
    x, _, _ = features(support=3, width=7)
    y, penalty = torch.randn(2, 3, 2, dtype=torch.float64), torch.tensor(0.3, dtype=torch.float64)
    normal = torch.linalg.solve(x.mT @ x + 0.3 * torch.eye(7, dtype=torch.float64), x.mT @ y)
    torch.testing.assert_close(ridge(x, y, penalty), normal)


@pytest.mark.parametrize("support", [3, 12])
def test_the_gradient_through_the_solve_by_finite_differences(support):
    x, y, q = features(support=support)
    head = comparison("sum")
    log_penalty, log_scale = head.log_penalty.detach().requires_grad_(), head.log_scale.detach().requires_grad_()

    def answer(x, q, log_penalty, log_scale):
        own = {"log_penalty": log_penalty, "log_scale": log_scale}
        return torch.func.functional_call(head, own, (x, y, q, 3))

    assert torch.autograd.gradcheck(answer, (x.requires_grad_(), q.requires_grad_(), log_penalty, log_scale))


def test_a_penalty_that_stays_is_the_same_one_and_not_trained():
    x, y, q = features()
    trained, fixed = comparison("mean"), comparison("fixed")
    assert torch.equal(trained(x, y, q, 3), fixed(x, y, q, 3))
    assert [name for name, _ in trained.named_parameters()] == ["log_penalty", "log_scale"]
    assert [name for name, _ in fixed.named_parameters()] == ["log_scale"]
    assert "log_penalty" not in fixed.state_dict(), "a setting, not a weight"
    assert fixed.describe()["fixed"]


def test_ridge_is_safe_in_float32():
    x, y, q = features(support=60, width=3)
    x = (1e3 * x.float()).requires_grad_()
    head = RidgeHead(1e-4)
    scores = head(x, y, 1e3 * q.float(), 3)
    scores.square().mean().backward()
    assert scores.dtype == torch.float32
    assert x.grad is not None
    assert x.grad.isfinite().all()
    exact = RidgeHead(1e-4).double()(x.detach().double(), y, (1e3 * q.float()).double(), 3)
    torch.testing.assert_close(scores.detach().double(), exact, rtol=1e-4, atol=1e-5)


def test_ridge_answers_regressions_as_scikit_learn_does():
    x, _, q = features()
    y = torch.randn(2, 6, 2, dtype=torch.float64)
    answers = RidgeHead(0.5, kind="regression").double()(x, y, q, 2)
    for task in range(2):
        plain = Ridge(alpha=0.5 + LEAST, fit_intercept=False)
        one = lambda rows: np.c_[rows.numpy(), np.ones(len(rows))]
        plain.fit(one(x[task]), y[task].numpy())
        torch.testing.assert_close(answers[task], torch.tensor(plain.predict(one(q[task]))))


@pytest.mark.parametrize("name", ALL)
def test_permuting_labels_permutes_answers(name):
    x, y, q = features()
    turn = torch.tensor([2, 0, 1])
    made = comparison(name)
    torch.testing.assert_close(made(x, turn[y], q, 3)[..., turn], made(x, y, q, 3))


@pytest.mark.parametrize("name", UNORDERED)
def test_the_order_of_the_support_set_does_not_matter(name):
    x, y, q = features()
    order = torch.tensor([4, 1, 0, 5, 3, 2])
    made = comparison(name)
    torch.testing.assert_close(made(x[:, order], y[:, order], q, 3), made(x, y, q, 3))


@pytest.mark.parametrize("name", ALL)
def test_a_query_is_answered_without_the_others(name):
    x, y, q = features()
    made = comparison(name)
    together = made(x, y, q, 3)
    for query in range(5):
        torch.testing.assert_close(made(x, y, q[:, query : query + 1], 3)[:, 0], together[:, query])


@pytest.mark.parametrize("name", ALL)
def test_padding_and_absent_classes(name):
    x, y, q = features()
    made = comparison(name)
    few = made(x[:, :2], y[:, :2], q, 2)  # one example of classes 0 and 1
    padded = torch.cat([x[:, :2], torch.full_like(x[:, 2:], 7.0)], 1)
    labels = torch.cat([y[:, :2], torch.full_like(y[:, 2:], IGNORE)], 1)
    scores = made(padded, labels, q, 3)
    torch.testing.assert_close(scores[..., :2], few)
    assert (scores[..., 2] == LOWEST).all()


@pytest.mark.parametrize("name", ALL)
def test_gradients_are_finite_for_ragged_tasks(name):
    x, y, q = features()
    y[0, y[0] == 2] = IGNORE
    x.requires_grad_()
    scores = comparison(name)(x, y, q, 3)
    loss = torch.nn.functional.cross_entropy(scores[0], torch.tensor([0, 1, 0, 1, 0]))
    (grad,) = torch.autograd.grad(loss, x)
    assert grad.isfinite().all()
    assert grad[0].any()
    assert not grad[0, y[0] == IGNORE].any()
    assert not grad[1].any()


def test_the_transformer_reads_labels_and_all_of_the_support_set():
    x, y, q = features()
    made = comparison("transformer")
    before = made(x, y, q, 3)
    assert not torch.allclose(made(x, y.flip(1), q, 3), before)
    for example in range(6):
        other = x.clone()
        other[:, example] += 1
        assert not torch.allclose(made(other, y, q, 3), before)
