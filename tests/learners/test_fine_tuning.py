"""Fine-tuning against torch.optim on copies of the module, closed forms, and the network's own expansion."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call

import metaft
from metaft.errors import MetaftError
from metaft.inner.scope import select
from metaft.learners import MAML, build
from metaft.learners.fine_tuning import FineTuning
from metaft.learners.linearised import linearised
from metaft.models import Conv4
from metaft.models.blocks import blocks
from metaft.models.heads import with_new_head
from metaft.tasks.batch import TaskBatch

DOUBLE = torch.float64
WAYS, TASKS, RATE = 3, 3, 0.2
OPTIMISERS = {
    "sgd": lambda p: torch.optim.SGD(p, RATE),
    "momentum": lambda p: torch.optim.SGD(p, RATE, momentum=0.9),
    "adam": lambda p: torch.optim.Adam(p, RATE, eps=1e-8),
}


def conv4(outputs=5):
    """A small network whose running statistics are those of some data, in float64."""
    torch.manual_seed(0)
    model = Conv4(1, 16, outputs, hidden=3).double()
    nn.init.normal_(model.head.weight)
    for _ in range(10):
        model.train()(torch.rand(16, 1, 16, 16, dtype=DOUBLE))
    return model.eval()


def tasks(*shape, seed=1):
    rng = torch.Generator().manual_seed(seed)
    draw = lambda n: torch.rand(TASKS, n, *shape, generator=rng, dtype=DOUBLE)
    label = lambda n: torch.arange(WAYS).repeat(TASKS, n // WAYS)
    return TaskBatch(draw(2 * WAYS), label(2 * WAYS), draw(WAYS), label(WAYS))


def objective(name, net, pretrained, start, x, y):
    """Written out once more, with modules."""
    loss = F.cross_entropy(net(x), y)
    if name == "l2":
        loss = loss + 0.5 * 0.3 * sum((p - start[n]).square().sum() for n, p in net.named_parameters())
    if name == "kl":
        with torch.no_grad():
            before = F.log_softmax(pretrained(x), -1)
        now = F.log_softmax(pretrained.head(net.features(x)), -1)
        loss = loss + 0.3 * F.kl_div(now, before, reduction="batchmean", log_target=True)
    return loss


def by_torch(batch, plan, *, rule="sgd", held="task", head="zeros", outputs=WAYS):
    """The same by torch.optim, task by task; ``plan`` names what moves at each step, an optimiser a set of names."""
    curves = []
    for sx, sy, qx, _ in zip(*batch.tensors(), strict=True):
        pretrained = conv4()
        net = with_new_head(pretrained, outputs, 0, head)
        start = {n: p.detach().clone() for n, p in net.named_parameters()}
        own, optimisers, answers = dict(net.named_parameters()), {}, [net(qx)]
        for names in plan:
            if names not in optimisers:
                optimisers[names] = OPTIMISERS[rule]([own[n] for n in names])
            net.zero_grad()
            objective(held, net, pretrained, start, sx, sy).backward()
            optimisers[names].step()
            answers.append(net(qx))
        curves.append(torch.stack(answers).detach())
    return torch.stack(curves, 1)


NAMES = tuple(name for name, _ in conv4().named_parameters())
HEAD = ("head.weight", "head.bias")


def same(a, b):
    torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    ("scope", "rule", "held", "head"),
    [
        ("all", "sgd", "task", "zeros"),
        ("all", "momentum", "l2", "random"),
        ("all", "sgd", "kl", "zeros"),
        ("head", "momentum", "task", "zeros"),
        ("none", "sgd", "l2", "random"),
        ("last:2", "momentum", "kl", "random"),
        ("first:2", "sgd", "task", "random"),
        ("biases", "momentum", "task", "zeros"),
        ("body,!head", "sgd", "task", "random"),
    ],
)
def test_equals_torch_optim_on_a_copy_a_task(scope, rule, held, head):
    batch = tasks(1, 16, 16)
    learner = FineTuning(
        conv4(), rate=RATE, steps=4, rule=rule, scope=scope, objective=held, weight=0.3, head=head, workers=2
    )
    names = select(NAMES, scope)
    names = names if "!head" in scope else tuple(n for n in NAMES if n in names or n in HEAD)
    same(learner.curve(batch), by_torch(batch, [names] * 4, rule=rule, held=held, head=head))
    same(learner.adapt(batch.support_x, batch.support_y)(batch.query_x), learner.curve(batch)[-1])


def test_adam_equals_torch_up_to_its_epsilon():
    batch = tasks(1, 16, 16)
    learner = FineTuning(conv4(), rate=RATE, steps=3, rule="adam", scope="none", head="random")
    expected = by_torch(batch, [HEAD] * 3, rule="adam", head="random")
    torch.testing.assert_close(learner.curve(batch), expected, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("scope", ["all", "last:2"])
def test_head_first_is_two_trainings_one_after_the_other(scope):
    batch = tasks(1, 16, 16)
    learner = FineTuning(conv4(), rate=RATE, steps=5, head_steps=2, rule="momentum", schedule="head-first", scope=scope)
    plan = [HEAD] * 2 + [select(NAMES, scope)] * 3
    same(learner.curve(batch), by_torch(batch, plan, rule="momentum"))
    head_alone = FineTuning(conv4(), rate=RATE, steps=2, rule="momentum", scope="head")
    # The body has not moved; only the last digits tell one memory layout from the other.
    torch.testing.assert_close(learner.curve(batch, steps=2), head_alone.curve(batch), rtol=1e-9, atol=1e-12)


def test_rotating_moves_one_block_a_step_each_with_its_own_momentum():
    batch = tasks(1, 16, 16)
    learner = FineTuning(conv4(), rate=RATE, steps=7, rule="momentum", schedule="rotating")
    order = [tuple(n for n in NAMES if n.startswith(block)) for block in reversed(blocks(NAMES))]
    assert order[0] == HEAD
    same(learner.curve(batch), by_torch(batch, [order[k % 5] for k in range(7)], rule="momentum"))


def test_features_computed_once_are_the_networks_own():
    batch = tasks(1, 16, 16)
    for mode in ("running", "inductive", "transductive"):
        once = FineTuning(conv4(), rate=RATE, steps=3, scope="head", batch_norm=mode)
        again = FineTuning(conv4(), rate=RATE, steps=3, scope="head", batch_norm=mode)
        again._head_alone = lambda net, plan: 0
        same(once.curve(batch), again.curve(batch))
        assert once.transductive == (mode == "transductive")


def test_with_its_head_kept_it_is_the_inner_loop_of_maml():
    batch, model = tasks(1, 16, 16), conv4(WAYS)
    maml = MAML(model, metaft.Momentum(RATE), 4, scope="last:2")
    ours = FineTuning(
        model, rate=RATE, steps=4, rule="momentum", scope="last:2", head="kept", batch_norm="transductive"
    )
    same(ours.curve(batch), maml.curve(batch))


def test_two_steps_of_squared_error_by_hand():
    batch = tasks(4)
    y = torch.randn(TASKS, 2 * WAYS, 2, dtype=DOUBLE)
    model = nn.Sequential(nn.Linear(4, 7, bias=False)).double()
    learner = FineTuning(model, rate=RATE, steps=2)
    x, weight = batch.support_x, torch.zeros(TASKS, 2, 4, dtype=DOUBLE)
    expected = [batch.query_x @ weight.mT]
    for _ in range(2):
        weight = weight - RATE * 2 / y[0].numel() * (x @ weight.mT - y).mT @ x
        expected.append(batch.query_x @ weight.mT)
    found = learner.curve(TaskBatch(x, y, batch.query_x, torch.zeros(TASKS, WAYS, 2, dtype=DOUBLE)))
    same(found, torch.stack(expected))


def test_the_first_step_from_zeros_is_towards_class_sums():
    batch = tasks(4)
    learner = FineTuning(nn.Sequential(nn.Linear(4, 7)).double(), rate=RATE, steps=1)
    onehot = F.one_hot(batch.support_y, WAYS).double()
    weight = RATE * (onehot - 1 / WAYS).mT @ batch.support_x / (2 * WAYS)
    bias = RATE * (onehot - 1 / WAYS).mean(1, keepdim=True)
    same(learner.curve(batch)[1], batch.query_x @ weight.mT + bias)


def test_linearised_is_the_first_order_expansion():
    model, x = conv4(), torch.rand(4, 1, 16, 16, dtype=DOUBLE)
    answer = lambda p: functional_call(model, p, (x,))
    point = {n: p.detach() for n, p in model.named_parameters()}
    torch.manual_seed(2)
    away = {n: torch.randn_like(p) for n, p in point.items()}
    moved = lambda t: {n: p + t * away[n] for n, p in point.items()}
    slope = (answer(moved(1e-6)) - answer(moved(-1e-6))) / 2e-6
    torch.testing.assert_close(linearised(answer, point, moved(1.0)), answer(point) + slope, rtol=1e-6, atol=1e-6)
    assert not torch.allclose(answer(moved(1.0)), answer(point) + slope, rtol=0.1)


def test_linearised_learner_is_a_linear_model_on_derivatives():
    batch = tasks(1, 16, 16)
    learner = build("linearised", conv4(), rate=RATE, steps=4, head_steps=1, scope="last:2")
    curve = learner.curve(batch)
    names = select(NAMES, "last:2")
    for task, (sx, sy, qx, _) in enumerate(zip(*batch.tensors(), strict=True)):
        net = with_new_head(conv4(), WAYS, 0, "zeros")
        F.cross_entropy(net(sx), sy).backward()
        with torch.no_grad():
            for parameter in net.head.parameters():
                parameter -= RATE * parameter.grad
        point = {n: p.detach() for n, p in net.named_parameters() if n in names}
        of = lambda x, net=net: lambda *values: functional_call(net, dict(zip(names, values, strict=True)), (x,))
        theta = [torch.zeros_like(p, requires_grad=True) for p in point.values()]

        def model(x, of=of, point=point, theta=theta):
            jacobians = torch.autograd.functional.jacobian(of(x), tuple(point.values()))
            return of(x)(*point.values()) + sum(
                (j * t).flatten(2).sum(-1) for j, t in zip(jacobians, theta, strict=True)
            )

        for k in range(1, 5):
            same(curve[k, task], model(qx).detach())
            grads = torch.autograd.grad(F.cross_entropy(model(sx), sy), theta)
            with torch.no_grad():
                for t, g in zip(theta, grads, strict=True):
                    t -= RATE * g


def test_linearised_changes_nothing_where_the_network_is_linear():
    batch = tasks(4)
    model = nn.Sequential(nn.Linear(4, 7)).double()
    how = {"rate": RATE, "steps": 4, "rule": "momentum", "head": "random"}
    same(FineTuning(model, linearised=True, **how).curve(batch), FineTuning(model, **how).curve(batch))


def test_what_is_frozen_and_all_buffers_stay_to_the_bit():
    model = conv4()
    before = copy.deepcopy(model.state_dict())
    learner = FineTuning(model, rate=RATE, steps=3, scope="last:1")
    held = {n: p.clone() for n, p in learner.params.items()}
    learner.curve(tasks(1, 16, 16))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(torch.equal(value, before[name]) for name, value in learner.model.module.state_dict().items())
    assert all(torch.equal(value, held[name]) for name, value in learner.params.items())


def test_a_task_of_fewer_ways_is_answered_alike_in_any_batch():
    batch = tasks(1, 16, 16)
    few = batch.support_y < WAYS - 1
    small = TaskBatch(*(t[:1, : 2 * WAYS] if t is batch.support_x else t[:1] for t in batch.tensors()))
    small = TaskBatch(small.support_x[:, few[0]], small.support_y[:, few[0]], small.query_x, small.query_y * 0)
    y = batch.support_y.clone()
    y[0, ~few[0]] = -100
    padded = TaskBatch(batch.support_x, y, batch.query_x, batch.query_y)
    learner = FineTuning(conv4(), rate=RATE, steps=3)
    same(learner.curve(padded)[:, 0, :, : WAYS - 1], learner.curve(small)[:, 0])


def test_adapts_counts_the_head_for_the_ways_at_hand():
    learner = FineTuning(conv4(), steps=1, scope="head")
    assert learner.describe()["adapts"] == 5 * 3 + 5
    learner.curve(tasks(1, 16, 16))
    assert learner.describe()["adapts"] == WAYS * 3 + WAYS


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"rule": "sgdd"}, "unknown rule 'sgdd'; did you mean 'sgd'"),
        ({"schedule": "headfirst"}, "unknown schedule 'headfirst'; did you mean 'head-first'"),
        ({"head": "zero"}, "unknown head 'zero'; did you mean 'zeros'"),
        ({"objective": "l3"}, "unknown objective 'l3'"),
        ({"batch_norm": "runing"}, "did you mean 'running'"),
        ({"rate": -1.0}, "rate must be a positive finite number"),
        ({"steps": -1}, "steps must be a whole number of at least 0"),
        ({"weight": 0.0, "objective": "l2"}, "weight must be a positive"),
        ({"scope": "tail"}, "scope 'tail' matches no parameter"),
        ({"scope": "none,!head"}, "leaves nothing that adapts"),
        ({"scope": "body,!head"}, "a head of zeros that does not adapt"),
        ({"rule": "meta-sgd"}, "'meta-sgd' learns its rates in meta-training"),
        ({"schedule": "head-first", "head_steps": 50}, "50 of 50 will not do"),
        ({"linearised": True}, "does not see its body"),
        ({"objective": "kl", "scope": "head"}, "a new head cannot change"),
        ({"objective": "l2-after"}, "belongs to meta-training"),
    ],
)
def test_what_does_not_go_together_is_one_line_before_any_work(options, said):
    with pytest.raises(MetaftError, match=said) as error:
        FineTuning(conv4(), **options)
    assert "\n" not in str(error.value)


def test_a_kept_head_must_be_wide_enough():
    with pytest.raises(MetaftError, match="the kept head has 2 outputs, the tasks 3"):
        FineTuning(conv4(2), head="kept").curve(tasks(1, 16, 16))


def test_meta_trained_networks_have_no_running_statistics():
    model = nn.Sequential(nn.BatchNorm1d(4, track_running_stats=False), nn.Linear(4, 2))
    with pytest.raises(MetaftError, match="no running statistics"):
        FineTuning(model)


def test_the_linearised_model_does_not_share_forward_derivatives_among_threads():
    batch = tasks(1, 16, 16)
    answers = [
        FineTuning(
            conv4(), rate=RATE, steps=3, head_steps=1, schedule="head-first", linearised=True, workers=workers
        ).adapt(batch.support_x, batch.support_y)(batch.query_x)
        for workers in (1, 4)
    ]
    assert torch.equal(*answers)
    # Whether threads meet is chance; that there are none is not.
    head_first = {"schedule": "head-first", "steps": 3, "head_steps": 1}
    assert FineTuning(conv4(), linearised=True, workers=4, **head_first).workers == 1
    assert FineTuning(conv4(), workers=4, **head_first).workers == 4


@pytest.mark.parametrize("rule", ["sgd", "momentum", "adam"])
def test_a_head_rate_is_the_rule_at_that_rate_for_the_head_alone(rule):
    batch = tasks(1, 16, 16)
    how = {"rule": rule, "steps": 3, "head": "random"}
    same(
        FineTuning(conv4(), rate=0.1, head_rate=0.1, **how).curve(batch),
        FineTuning(conv4(), rate=0.1, **how).curve(batch),
    )
    alone = FineTuning(conv4(), rate=0.5, scope="none", **how).curve(batch)
    same(FineTuning(conv4(), rate=0.1, head_rate=0.5, scope="none", **how).curve(batch), alone)
    body = FineTuning(conv4(), rate=0.1, scope="all,!head", **how).curve(batch)
    same(FineTuning(conv4(), rate=0.1, head_rate=1e-12, **how).curve(batch), body)


def test_a_head_rate_must_be_positive():
    with pytest.raises(MetaftError, match="positive finite"):
        FineTuning(conv4(), head_rate=0.0)


def test_a_scope_of_frozen_parameters_alone_is_refused():
    network = metaft.additions.freeze_base(Conv4(1, 16, 5, hidden=4))
    with pytest.raises(
        MetaftError, match=r"names frozen parameters alone \('features.0.conv.bias', …\).*frozen=nothing"
    ):
        FineTuning(network, scope="features.0.*", batch_norm="transductive")
