"""What learners trained through episodes keep to, whatever they compare by."""

import copy
import itertools

import pytest
import torch
import torch.nn.functional as F

from metaft.errors import MetaftError
from metaft.learners.metric import in_context_transformer, matching, matching_fce, protonet, r2d2
from metaft.models import Conv4
from metaft.models.heads import without_head
from metaft.tasks.batch import IGNORE, TaskBatch
from metaft.tasks.sinusoid import Sinusoids
from tests.learners.metric.episodes import METHODS, make, mlp, network, ragged, tasks

MODES = ("running", "transductive", "inductive")


@pytest.fixture(params=METHODS)
def name(request):
    return request.param


def updated(learner, out, rate):
    """One step of plain gradient descent, as a training loop makes it."""
    steps = {n: learner.params[n] - rate * g for n, g in out.grads.items()}
    learner.params = learner.params | steps | out.gathered


@pytest.mark.share(2)
@pytest.mark.parametrize("mode", MODES)
def test_training_lowers_the_loss_and_moves_all_it_should(name, mode):
    learner = make(name, batch_norm=mode)
    start = copy.deepcopy(learner.params)
    losses = []
    for _ in range(25):
        out = learner.meta_gradient(tasks())
        losses.append(float(out.loss))
        assert out.grads.keys() == set(learner.trains)
        assert out.gathered.keys() == (learner.params.keys() - set(learner.trains) if mode == "running" else set())
        # Adam's first step: the sign of the gradient, whatever its size.
        updated(learner, type(out)(**{**vars(out), "grads": {n: g.sign() for n, g in out.grads.items()}}), 2e-3)
    assert losses[-1] < 0.8 * losses[0]
    still = {n for n in learner.params if torch.equal(learner.params[n], start[n])}
    # What batch norm subtracts again cannot matter.
    expected = set() if mode == "running" else learner.params.keys() - set(learner.trains)
    assert {n for n in still if not n.endswith("conv.bias")} == expected


def test_a_meta_gradient_changes_nothing(name):
    learner = make(name)
    before = copy.deepcopy(learner.params)
    learner.meta_gradient(tasks())
    assert all(torch.equal(p, before[n]) for n, p in learner.params.items())


@pytest.mark.share(2)
@pytest.mark.parametrize("mode", MODES)
def test_the_gradient_by_finite_differences(name, mode):
    learner, batch = make(name, batch_norm=mode), tasks()
    out = learner.meta_gradient(batch)
    start, direction = learner.params, {}
    rng = torch.Generator().manual_seed(3)
    for n, g in out.grads.items():
        direction[n] = torch.randn(g.shape, generator=rng, dtype=g.dtype)

    def loss(step):
        learner.params = start | {n: start[n] + step * d for n, d in direction.items()}
        return learner.meta_gradient(batch).loss

    slope = sum((out.grads[n] * d).sum() for n, d in direction.items())
    step = 1e-7
    torch.testing.assert_close((loss(step) - loss(-step)) / (2 * step), slope, rtol=1e-4, atol=1e-7)


def test_equals_an_ordinary_training_step_of_a_module():
    """Snell et al.'s algorithm 1 over an nn.Module in training mode; running statistics as that module gathers them."""
    learner, body = make("protonet"), without_head(network()).train()
    batch = tasks()
    out = learner.meta_gradient(batch)
    losses, moved = [], []
    for support, y, query, truth in zip(*batch.tensors(), strict=True):
        moved.append({n: b.clone() for n, b in body.named_buffers() if b.is_floating_point()})
        z = torch.func.functional_call(body, moved[-1], (torch.cat([support, query]),))
        means = torch.stack([z[:6][y == way].mean(0) for way in range(3)])
        losses.append(F.cross_entropy(-torch.cdist(z[6:], means).square(), truth))
    torch.testing.assert_close(out.losses, torch.stack(losses).detach())
    torch.stack(losses).mean().backward()
    for n, p in body.named_parameters():
        torch.testing.assert_close(out.grads[f"network.{n}"], p.grad)
    for n in moved[0]:
        torch.testing.assert_close(out.gathered[f"network.{n}"], torch.stack([task[n] for task in moved]).mean(0))
    updated(learner, out, 0.0)
    body.load_state_dict({n: out.gathered[f"network.{n}"] for n in moved[0]}, strict=False)
    body.eval()
    expected = body(batch.query_x.flatten(0, 1)).unflatten(0, batch.query_y.shape)
    means = body(batch.support_x.flatten(0, 1)).unflatten(0, batch.support_y.shape).unflatten(1, (2, 3)).mean(1)
    torch.testing.assert_close(learner.curve(batch)[0], -torch.cdist(expected, means).square().detach())


def test_each_mode_of_batch_norm_sees_what_it_says(name):
    batch = tasks()
    other = batch.query_x.clone()
    other[:, 1:] = 1 - other[:, 1:] ** 2
    changed = TaskBatch(batch.support_x, batch.support_y, other, batch.query_y)
    among = {}
    for mode in MODES:
        learner = make(name, batch_norm=mode)
        updated(learner, learner.meta_gradient(batch), 0.0)
        answer, alone = learner.curve(batch)[0, 0], learner.curve(batch[:1])[0, 0]
        torch.testing.assert_close(answer, alone)  # no task sees another
        among[mode] = torch.allclose(learner.curve(changed)[0, :, 0], learner.curve(batch)[0, :, 0], rtol=1e-6)
        assert among[mode] == (not learner.transductive)
    assert among == {"running": True, "transductive": False, "inductive": True}


@pytest.mark.share(2)
@pytest.mark.parametrize("mode", MODES)
def test_padding_enters_neither_loss_nor_statistics(name, mode):
    learner, batch = make(name, batch_norm=mode), ragged()
    other = [t.clone() for t in batch.tensors()]
    for x, y in ((other[0], other[1]), (other[2], other[3])):
        x[y == IGNORE] = 5.0  # whatever stands there
    out, same = learner.meta_gradient(batch), learner.meta_gradient(TaskBatch(*other))
    torch.testing.assert_close(same.losses, out.losses)
    for n in out.grads:
        torch.testing.assert_close(same.grads[n], out.grads[n])
    for n in out.gathered:
        torch.testing.assert_close(same.gathered[n], out.gathered[n])
    # The first task, without its padding, is a two-way task.
    kept, asked = batch.support_y[0] != IGNORE, batch.query_y[0] != IGNORE
    small = TaskBatch(batch.support_x[:1, kept], batch.support_y[:1, kept], batch.query_x[:1, asked],
                      batch.query_y[:1, asked])  # fmt: skip
    torch.testing.assert_close(learner.curve(batch)[0, 0, asked][:, :2], learner.curve(small)[0, 0])


def test_other_ways_and_shots_than_in_training(name):
    learner = make(name)
    updated(learner, learner.meta_gradient(tasks(ways=3, shots=2)), 0.0)
    for ways, shots in itertools.product((2, 7), (1, 5)):
        batch = tasks(ways=ways, shots=shots)
        assert learner.curve(batch).shape == (1, 4, 3 * ways, ways)
        torch.testing.assert_close(
            learner.adapt(batch.support_x, batch.support_y)(batch.query_x), learner.curve(batch)[0]
        )


def test_the_running_statistics_are_used(name):
    learner = make(name)
    before = learner.curve(tasks())
    out = learner.meta_gradient(tasks())
    assert out.gathered
    learner.params = learner.params | out.gathered
    assert not torch.allclose(learner.curve(tasks()), before)


@pytest.mark.share(3)
def test_the_memory_layout_of_a_learner_changes_no_weight_shape(name):
    out = make(name).meta_gradient(tasks())
    assert all(g.is_contiguous() for g in out.grads.values())
    assert all(g.shape == make(name).params[n].shape for n, g in out.grads.items())


@pytest.mark.parametrize("method", [r2d2, in_context_transformer])
def test_regression(method):
    learner = method(mlp(), kind="regression")
    family = Sinusoids(10, 10)
    batch = family.batch(0, 8)
    batch = TaskBatch(*(t.double() for t in batch.tensors()))
    losses = []
    for _ in range(40):
        out = learner.meta_gradient(batch)
        losses.append(float(out.loss))
        updated(learner, type(out)(**{**vars(out), "grads": {n: g.sign() for n, g in out.grads.items()}}), 2e-3)
    assert losses[-1] < 0.8 * losses[0]
    answers = learner.curve(batch)
    assert answers.shape == (1, 8, 10, 1)
    torch.testing.assert_close(out.losses.mean(), out.loss)
    order = torch.randperm(10, generator=torch.Generator().manual_seed(0))
    shuffled = TaskBatch(batch.support_x[:, order], batch.support_y[:, order], batch.query_x, batch.query_y)
    torch.testing.assert_close(learner.curve(shuffled), answers)
    torch.testing.assert_close(learner.adapt(batch.support_x, batch.support_y)(batch.query_x[:, :1]), answers[0, :, :1])


@pytest.mark.parametrize("method", [protonet, matching, matching_fce])
def test_regressions_are_refused(method):
    with pytest.raises(MetaftError, match="this is a regression; use in-context-transformer, r2d2 or maml"):
        method(mlp(), kind="regression")


@pytest.mark.parametrize(
    ("method", "options", "said"),
    [
        (protonet, {"distance": "euclidian"}, "did you mean 'euclidean'"),
        (protonet, {"batch_norm": "runing"}, "did you mean 'running'"),
        (r2d2, {"regularisation": 0.0}, "regularisation must be a positive finite number"),
        (r2d2, {"fit": "maen"}, "did you mean 'mean'"),
        (matching_fce, {"reads": 0}, "reads must be 1 or more, not 0; without any it is 'matching'"),
        (in_context_transformer, {"token_width": 30}, "heads must divide the width"),
        (in_context_transformer, {"layers": 0}, "must be 1 or more"),
    ],
)
def test_bad_options(method, options, said):
    with pytest.raises(MetaftError, match=said):
        method(network(), **options)


def test_a_network_without_a_head_is_refused():
    with pytest.raises(MetaftError, match="is Conv2d"):
        protonet(torch.nn.Sequential(torch.nn.Conv2d(1, 3, 3), torch.nn.Flatten()))


@pytest.mark.parametrize("method", [in_context_transformer, matching_fce])
def test_the_model_given_is_copied_and_the_seed_decides_the_rest(method):
    model = network()
    before = copy.deepcopy(model.state_dict())
    state = torch.random.get_rng_state()
    one, same, other = method(model), method(model), method(model, seed=1)
    assert torch.equal(torch.random.get_rng_state(), state)
    one.meta_gradient(tasks())
    assert all(torch.equal(value, before[n]) for n, value in model.state_dict().items())
    assert all(torch.equal(p, same.params[n]) for n, p in one.params.items())
    assert any(not torch.equal(p, other.params[n]) for n, p in one.params.items())


def test_a_network_without_batch_norm_gathers_nothing():
    learner = protonet(Conv4Plain())
    batch = tasks()
    assert learner.describe()["batch_norm"] == "none"
    assert not learner.transductive
    assert not learner.meta_gradient(batch).gathered


class Conv4Plain(Conv4):
    """Conv4 without batch norm."""

    def __init__(self):
        super().__init__(1, 16, 3, hidden=4)
        for block in self.features[:4]:
            block.norm = torch.nn.Identity()
        self.double()


class Normalised(torch.nn.Sequential):
    """A network whose inputs are no images, so that its tasks pass through it together on a CPU as well."""

    def __init__(self):
        torch.manual_seed(0)
        layers = torch.nn.Flatten(), torch.nn.Linear(256, 8), torch.nn.BatchNorm1d(8), torch.nn.ReLU()
        super().__init__(*layers, torch.nn.Linear(8, 3))
        self.double()


@pytest.mark.parametrize("mode", MODES)
def test_tasks_together_are_tasks_one_by_one(mode):
    parts = tasks().tensors()
    batch = TaskBatch(parts[0].flatten(2), parts[1], parts[2].flatten(2), parts[3])
    learner = protonet(Normalised(), batch_norm=mode)
    together = learner.meta_gradient(batch)
    alone = [learner.meta_gradient(batch[i : i + 1]) for i in range(4)]
    torch.testing.assert_close(together.losses, torch.cat([out.losses for out in alone]))
    for part in ("grads", "gathered"):
        for n, found in getattr(together, part).items():
            torch.testing.assert_close(found, sum(getattr(out, part)[n] for out in alone) / 4)
    assert bool(together.gathered) == (mode == "running")
