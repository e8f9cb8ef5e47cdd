"""Tasks, losses, networks and learners of the user's own are refused in one line before anything is made of them."""

from dataclasses import dataclass, replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import metaft
from metaft.errors import MetaftError
from metaft.learners import ClassMeans, FineTuning, NearestNeighbour, build
from metaft.tasks.batch import IGNORE, TaskBatch
from metaft.tasks.check import require_answers, require_fit, require_network_answer, require_sound
from metaft.training.first_batch import require_first
from tests.evaluation.toys import Blobs, Fixed, Lines

CPU = torch.device("cpu")


def changed(family, tasks=4, **fields):
    """A family's first tasks, fields of them changed by functions."""
    batch = family.batch(0, tasks)
    return replace(batch, **{name: change(getattr(batch, name).clone()) for name, change in fields.items()})


def put(place, value):
    def change(t):
        t[place] = value
        return t

    return change


@dataclass(frozen=True)
class Given:
    """A family of one batch."""

    given: TaskBatch
    kind: str = "classification"
    outputs: int = 3
    input_shape: tuple = (2,)

    def batch(self, index, tasks):
        return self.given[:tasks]

    def describe(self):
        return {"family": "given"}


CLASSES = [
    # The instance of the list: labels 3, 7 and 12 with outputs = 3.
    ({n: lambda y: torch.tensor([3, 7, 12])[y] for n in ("support_y", "query_y")},
     "task 0: its labels go to 12, and the family says outputs = 3"),
    ({"query_y": put((2, 0), 3)}, "task 2: its labels go to 3, and the family says outputs = 3"),
    ({"support_y": put((1, 0), -1)}, "task 1: it has the label -1; labels are 0 to 2, and -100 for padding"),
    ({"support_y": lambda y: y.float()}, r"support_y is float32 \[tasks, 6\], and the family's kind is 'classif"),
    ({"query_y": lambda y: y.int()}, r"query_y is int32 \[tasks, 12\]; class labels are int64: use query_y.long"),
    ({"support_y": lambda y: y > 0}, "support_y is bool"),
    ({"support_y": lambda y: F.one_hot(y, 3)}, r"int64 \[tasks, 6, 3\]; .* of one-hot labels take argmax"),
    ({"query_y": lambda y: F.one_hot(y, 3).float()}, r"query_y is float32 \[tasks, 12, 3\], and the family's kind"),
    ({"support_y": put((3, slice(None)), 1)}, "task 3: its support set has examples of fewer than two classes"),
    ({"support_y": lambda y: y.masked_fill(y == 2, 1)}, "task 0: its queries ask for class 2, of which its support"),
    ({"query_x": put((1, 0, 0), torch.nan)}, "task 1: its query_x has NaN"),
    ({"query_x": lambda x: x.repeat(1, 1, 2)}, r"query_x has examples of shape \[4\], and the family says"),
    ({"query_x": lambda x: x.double()}, "support_x is float32 and query_x is float64"),
]  # fmt: skip
VALUES = [
    # The instance of the list: targets [tasks, 10] of one output.
    ({"query_y": lambda y: y[..., 0]}, r"query_y is \[tasks, 5\]; a regression of 1 output needs \[tasks, 5, 1\]"),
    ({"support_y": lambda y: y[..., 0]}, r"support_y is \[tasks, 4\]; a regression of 1 output needs \[tasks, 4, 1\]"),
    ({"query_y": lambda y: y.repeat(1, 1, 2)}, r"query_y is \[tasks, 5, 2\]; a regression of 1 output"),
    ({"query_y": lambda y: y.long()}, r"query_y is int64 \[tasks, 5, 1\]; .*: use query_y.float"),
    ({"support_y": put((2, 0, 0), torch.inf)}, "task 2: its support_y has NaN or infinite"),
]


def refusals():
    classes = [(Given(changed(Blobs(), **fields)), says) for fields, says in CLASSES]
    values = {"kind": "regression", "outputs": 1, "input_shape": (1,)}
    return classes + [(Given(changed(Lines(), **fields), **values), says) for fields, says in VALUES]


def learner_for(family):
    torch.manual_seed(0)
    model = nn.Linear(family.input_shape[0], family.outputs)
    return metaft.learners.MAML(model, metaft.SGD(0.1), 1, kind=family.kind)


@pytest.mark.parametrize(("family", "says"), refusals())
def test_tasks_that_do_not_fit_are_refused_before_training_and_before_scoring(family, says, tmp_path):
    learner = learner_for(family)
    with pytest.raises(MetaftError, match=says) as first:
        metaft.meta_train(learner, family, iterations=2, tasks=4, out=tmp_path / "run", progress=False)
    assert "\n" not in first.value.message
    assert not list((tmp_path / "run").glob("checkpoints/*"))
    with pytest.raises(MetaftError, match=says):
        metaft.evaluate(learner, family, tasks=4)


@pytest.mark.parametrize("family", [Blobs(), Lines()])
def test_tasks_that_fit_pass(family):
    batch = family.batch(0, 5)
    require_fit(batch, family)
    require_sound(batch)
    require_first(learner_for(family), family, family, batch, CPU)
    padded = changed(Blobs(), support_y=put((0, 0), IGNORE), query_y=put((0, 0), IGNORE))
    require_fit(padded, Blobs())
    require_sound(padded)


def test_a_later_batch_that_does_not_fit_is_refused_too(tmp_path):
    class Turns(Lines):
        def batch(self, index, tasks):
            batch = super().batch(index, tasks)
            return batch if index < 2 else replace(batch, query_y=batch.query_y[..., 0])

    with pytest.raises(MetaftError, match="a regression of 1 output needs"):
        metaft.meta_train(learner_for(Lines()), Turns(), iterations=4, tasks=4, out=tmp_path / "run", progress=False)


class Answers(nn.Module):
    """A linear network that answers with something made of its scores."""

    def __init__(self, make, outputs=3):
        super().__init__()
        self.linear, self.make = nn.Linear(2, outputs), make

    def forward(self, x):
        return self.make(self.linear(x))


class Output(dict):
    pass


NETWORKS = [
    # The instance of the list: a dict.
    (lambda y: {"logits": y, "hidden": y}, r"dict of 'logits', 'hidden'; .*returns its answer\['logits'\]"),
    (lambda y: Output(loss=y, scores=y), r"Output of 'loss', 'scores'; .*answer\['scores'\]"),
    (lambda y: (y, None), r"tuple of 2; .* such as answer\[0\]"),
    (lambda y: (y,), "tuple of 1"),
    (lambda y: [y], "list of 1"),
    (lambda y: None, "answers with None"),
    (lambda y: y[:, 0], r"\[6\]; a network must answer 6 examples with one real tensor \[6, outputs\]; use unsqueeze"),
    (lambda y: y.unsqueeze(1), r"\[6, 1, 3\]; .*use flatten\(1\)"),
    (lambda y: y.mean(0), r"answers with \[3\]"),
    (lambda y: y.sum(), r"answers with \[\]"),
    (lambda y: y.T, r"answers with \[3, 6\]"),
    (lambda y: y.argmax(-1), "answers with int64"),
    (lambda y: y + 0j, "answers with complex64"),
    (lambda y: y.bfloat16(), "answers in bfloat16, and its parameters are float32"),
    (lambda y: y.detach(), "without a gradient towards its parameters"),
    (lambda y: y @ torch.ones(4, 4), "fails on the support set of task 0, float32 .6, 2.: RuntimeError"),
]


@pytest.mark.parametrize(("make", "says"), NETWORKS)
def test_a_network_that_answers_otherwise_is_refused(make, says, tmp_path):
    learner, batch = metaft.learners.MAML(Answers(make), metaft.SGD(0.1), 1), Blobs().batch(0, 4)
    for use in (
        lambda: learner.meta_gradient(batch),
        lambda: learner.adapt(batch.support_x, batch.support_y),
        lambda: learner.curve(batch),
        lambda: metaft.evaluate(learner, Blobs(), tasks=4),
        lambda: metaft.meta_train(learner, Blobs(), iterations=1, tasks=4, out=tmp_path / "run", progress=False),
    ):
        with pytest.raises(MetaftError, match=says) as error:
            use()
        assert "\n" not in error.value.message


def test_labels_beyond_a_networks_answers_are_refused_in_every_batch():
    learner = metaft.learners.MAML(nn.Linear(2, 2), metaft.SGD(0.1), 1)
    fits, beyond = Blobs(ways=2).batch(0, 4), changed(Blobs(ways=2), query_y=put((3, 1), 2))
    learner.meta_gradient(fits)
    with pytest.raises(MetaftError, match="task 3: its labels go to 2, and the network Linear answers with 2 numbers"):
        learner.meta_gradient(beyond)
    with pytest.raises(MetaftError, match="task 0: its labels go to 2"):
        learner.adapt(*Blobs(ways=3).batch(0, 4).tensors()[:2])
    regression = metaft.learners.MAML(nn.Linear(1, 2), metaft.SGD(0.1), 1, kind="regression")
    with pytest.raises(MetaftError, match=r"support_y is \[tasks, 4, 1\], and the network Linear answers with 2"):
        regression.meta_gradient(Lines().batch(0, 4))
    with pytest.raises(MetaftError, match="support_y are values, and the learner was made for a classification"):
        metaft.learners.MAML(nn.Linear(1, 1), metaft.SGD(0.1), 1).meta_gradient(Lines().batch(0, 4))


@pytest.mark.parametrize(
    "make",
    [
        lambda: NearestNeighbour(),
        lambda: ClassMeans(),
        lambda: FineTuning(nn.Linear(2, 3), steps=1, batch_norm="transductive"),
        lambda: build("protonet", nn.Sequential(nn.Linear(2, 4), nn.Linear(4, 3))),
        lambda: build("feature-extraction"),
    ],
)
def test_every_learner_refuses_labels_that_are_none(make):
    learner, batch = make(), Blobs().batch(0, 4)
    for y, says in (
        (batch.support_y.int(), "support_y is int32"),
        (batch.support_y.float(), r"support_y is float32 \[tasks, 6\]; values of a regression are"),
        (F.one_hot(batch.support_y, 3), "of one-hot labels take argmax"),
        (batch.support_y - 1, "it has the label -1"),
    ):
        with pytest.raises(MetaftError, match=says):
            learner.adapt(batch.support_x, y)(batch.query_x)


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (lambda b: {"a": 1}, "its .* is dict of 'a'; expected scores or values"),
        (lambda b: None, "is None"),
        (lambda b: torch.zeros(1, b.tasks, 12), r"is \[1, ., 12\]; expected .*\[steps \+ 1, ., 12, ways\]"),
        (lambda b: torch.zeros(b.tasks, 12, 3), r"is \[., 12, 3\]"),
        (lambda b: torch.zeros(0, b.tasks, 12, 3), r"is \[0, ., 12, 3\]"),
        (lambda b: torch.zeros(2, b.tasks, 12, 3).long(), "is int64"),
        (lambda b: torch.zeros(2, b.tasks, 12, 2), "answers with 2 numbers|tells 2 classes apart"),
    ],
)
def test_a_learner_that_answers_otherwise_is_refused(answer, says):
    batch = Blobs().batch(0, 4)
    learner = Fixed(answer)
    with pytest.raises(MetaftError, match=says):
        metaft.evaluate(learner, Blobs(), tasks=4)
    with pytest.raises(MetaftError, match=says):
        require_first(learner, Blobs(), None, batch, CPU)


def test_a_learner_that_fails_is_named_and_random_numbers_stay():
    def fails(batch):
        torch.rand(3)
        raise ValueError("not\nready")

    state = torch.get_rng_state()
    with pytest.raises(MetaftError, match=r"learner 'fixed' fails on the first task, .*: ValueError: not ready"):
        require_first(Fixed(fails), Blobs(), None, Blobs().batch(0, 4), CPU)
    assert torch.equal(state, torch.get_rng_state())


def answer(params, x):
    return x @ params["w"]


def squared(params, x, y):
    return F.mse_loss(answer(params, x), y)


@pytest.mark.parametrize(
    ("loss", "fields", "says"),
    [
        (squared, {"query_y": lambda y: y[..., 0]}, "answers and targets of different shapes on the query set"),
        (lambda p, x, y: (answer(p, x) - y).square(), {}, r"loss of task 0 is float32 \[4, 1\]; a loss must be a real"),
        (lambda p, x, y: {"loss": answer(p, x).sum()}, {}, "loss of task 0 is dict"),
        (lambda p, x, y: None, {}, "loss of task 0 is NoneType"),
        (lambda p, x, y: answer(p, x).sum() * 1j, {}, r"is complex64 \[\]"),
        (lambda p, x, y: answer(p, x).detach().sum(), {}, "no gradient towards the parameters"),
        (lambda p, x, y: F.cross_entropy(answer(p, x), y[:, 0].long() + 5), {}, "fails on the support .*IndexError"),
        (squared, {"query_x": put((2, 0, 0), torch.nan)}, "task 2: its query_x has NaN"),
        (squared, {"query_x": lambda x: x.repeat(1, 1, 2)}, "they have to be alike"),
    ],
)  # fmt: skip
def test_the_plain_engine_looks_at_tasks_and_loss_first(loss, fields, says):
    run = lambda batch: metaft.meta_gradient(loss, {"w": torch.ones(1, 1)}, batch, rule=metaft.SGD(0.1), steps=1)
    with pytest.raises(MetaftError, match=says) as error:
        run(changed(Lines(), **fields))
    assert "\n" not in error.value.message


def test_the_plain_engine_looks_once():
    calls = []

    def loss(params, x, y):
        calls.append(torch.is_tensor(x) and not torch._C._functorch.is_batchedtensor(x))
        return F.mse_loss(answer(params, x), y)

    run = lambda: metaft.meta_gradient(
        loss, {"w": torch.ones(1, 1)}, Lines().batch(0, 4), rule=metaft.SGD(0.1), steps=1
    )
    run()
    first = len(calls)
    run()
    assert len(calls) - first == first - 2  # a support and a query set were looked at


def test_shapes_in_words():
    with pytest.raises(MetaftError, match=r"the network N answers with \[5\]; .*lost the axis"):
        require_network_answer(torch.zeros(5), torch.zeros(4, 2), "the network N")
    assert require_answers(torch.zeros(1, 4, 12, 3), Blobs().batch(0, 4), "it").shape[-1] == 3
