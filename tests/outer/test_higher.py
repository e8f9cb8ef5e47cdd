"""Agreement with the library higher: in place of our inner loop, and as its users run it, on Conv4 over ten steps."""

import dataclasses

import higher
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import metaft
from metaft.inner.rules import MetaCurvature, RMSProp
from metaft.inner.rules.scaled import Scaled
from metaft.models import Conv4, Functional
from metaft.outer.meta_gradient import meta_gradient
from metaft.tables import RULES

DOUBLE = torch.float64


def problem():
    torch.manual_seed(0)
    model = Functional(nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 3)).to(DOUBLE))
    draw = lambda *shape: torch.randn(*shape, dtype=DOUBLE)
    batch = metaft.TaskBatch(draw(3, 4, 2), torch.randint(0, 3, (3, 4)), draw(3, 5, 2), torch.randint(0, 3, (3, 5)))
    return model, (lambda p, x, y: F.cross_entropy(model(p, x), y)), batch


# Every rule with every option away from its default; ε so large that none could be left out unseen.
ALIKE = [
    metaft.SGD(0.1),
    metaft.Momentum(0.1),
    metaft.Momentum(0.1, momentum=0.0),
    metaft.Momentum(0.1, momentum=0.5),
    metaft.Adam(0.01),
    metaft.Adam(0.01, beta1=0.5),
    metaft.Adam(0.01, beta2=0.9),
    metaft.Adam(0.01, eps=0.1),
    metaft.Adam(0.01, eps_root=0.01),
    RMSProp(0.01),
    RMSProp(0.01, beta1=0.3, beta2=0.7, eps=0.03, eps_root=0.02),
]
REFUSED = [metaft.MetaSGD(0.1), metaft.LSLR(0.1, 3), MetaCurvature(0.1), Scaled(metaft.SGD(0.1), 2.0, ("0.weight",))]


def test_the_table_has_every_rule_and_every_option():
    """A rule or option that is added has to be added here."""
    given = {type(rule) for rule in [*ALIKE, *REFUSED]}
    assert given >= {type(RULES.make(name, lr=0.1, steps=2)) for name in RULES}
    for kind in {type(rule) for rule in ALIKE}:
        for field in dataclasses.fields(kind):
            values = {getattr(rule, field.name) for rule in ALIKE if type(rule) is kind}
            assert field.name == "lr" or len(values) > 1, (kind, field.name)


@pytest.mark.parametrize("rule", ALIKE)
@pytest.mark.parametrize("estimator", ["exact", "first-order"])
@pytest.mark.parametrize("scope", ["all", "head"])
@pytest.mark.parametrize("objective", [None, metaft.L2ToStart(0.3)])
def test_the_engine_agrees_with_ours(rule, estimator, scope, objective):
    model, loss, batch = problem()
    ours, theirs = (
        meta_gradient(
            loss, model.params(), batch, rule=rule, steps=3, estimator=estimator, scope=scope, objective=objective,
            engine=engine,
        )
        for engine in ("eager", "higher")
    )  # fmt: skip
    torch.testing.assert_close(ours.losses, theirs.losses, rtol=1e-10, atol=1e-12)
    for name in theirs.grads:
        torch.testing.assert_close(ours.grads[name], theirs.grads[name], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("rule", REFUSED)
def test_rules_that_higher_cannot_run_are_refused(rule):
    model, loss, batch = problem()
    own = model.params()
    with pytest.raises(metaft.MetaftError, match=f"not {type(rule).__name__}; use engine 'eager'"):
        meta_gradient(loss, own | rule.learned(own), batch, rule=rule, steps=2, engine="higher")


@pytest.mark.parametrize("engine", ["eager", "higher"])
def test_a_small_gradient_moves_as_the_epsilon_under_the_root_says(engine):
    """The instance of the list: one step from w = 1 on (1, 1 + 1e-5); higher's own Adam moved by 0.00984."""
    point = lambda v: torch.tensor([[[v]]], dtype=DOUBLE)
    batch = metaft.TaskBatch(point(1.0), point(1 + 1e-5), point(1.0), point(0.0))
    w = {"w": torch.ones((), dtype=DOUBLE)}
    loss = lambda p, x, y: (p["w"] * x - y).square().mean()
    out = meta_gradient(loss, w, batch, rule=metaft.Adam(0.01), steps=1, engine=engine)
    g = -2e-5
    moved = 1 - 0.01 * g / ((g * g + 1e-8) ** 0.5 + 1e-8)
    assert float(out.loss) == pytest.approx(moved**2, rel=1e-9)
    assert moved - 1 == pytest.approx(0.00196, abs=1e-5)
    assert float(out.grads["w"]) == pytest.approx(-376, abs=1)


@pytest.mark.parametrize(
    ("make", "agrees"),
    [
        (lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, dampening=0.3, weight_decay=0.1), True),
        (lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, nesterov=True), True),
        (lambda p: torch.optim.SGD(p, 0.1, maximize=True), False),
        (lambda p: torch.optim.RMSprop(p, 0.01, alpha=0.5, eps=0.1, momentum=0.3, centered=True), True),
        (lambda p: torch.optim.RMSprop(p, 0.01, maximize=True), False),
        (lambda p: torch.optim.Adam(p, 0.01, eps=0.1), False),
        (lambda p: torch.optim.Adam(p, 0.01, weight_decay=0.1, maximize=True), False),
        (lambda p: torch.optim.Adagrad(p, 0.01, initial_accumulator_value=0.5), True),
    ],
)
def test_an_option_that_higher_leaves_out_is_refused(make, agrees):
    model, loss, batch = problem()
    run = lambda: meta_gradient(
        loss, model.params(), batch, rule=metaft.TorchOptimiser(make), steps=3, estimator="first-order", engine="higher"
    )
    if not agrees:
        with pytest.raises(metaft.MetaftError, match=r"does not move as torch\.optim"):
            run()
        return
    for task in range(3):  # as torch itself goes
        ours = [p.clone().requires_grad_() for p in model.params().values()]
        optimiser, names = make(ours), list(model.params())
        for _ in range(3):
            optimiser.zero_grad()
            here = dict(zip(names, ours, strict=True))
            loss(here, batch.support_x[task], batch.support_y[task]).backward()
            optimiser.step()
        value = loss(dict(zip(names, ours, strict=True)), batch.query_x[task], batch.query_y[task])
        torch.testing.assert_close(run().losses[task], value.detach(), rtol=1e-6, atol=1e-8)


def test_any_torch_optimiser_can_be_the_rule():
    model, loss, batch = problem()
    rule = metaft.TorchOptimiser(lambda p: torch.optim.RMSprop(p, lr=0.01))
    params = model.params()
    value = lambda p: meta_gradient(loss, p, batch, rule=rule, steps=2, engine="higher")
    out = value(params)
    direction = torch.randn_like(params["0.weight"])
    up, down = (value(params | {"0.weight": params["0.weight"] + s * 1e-6 * direction}).loss for s in (1, -1))
    torch.testing.assert_close((out.grads["0.weight"] * direction).sum(), (up - down) / 2e-6, rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize("pool", ["stride", "max"])
def test_ten_steps_of_conv4_agree_with_higher_as_its_users_run_it(pool):
    """A module in training mode inside ``innerloop_ctx``, batch norm and max-pool included."""
    torch.manual_seed(0)
    module = Conv4(1, 16, 3, hidden=4, pool=pool).to(DOUBLE)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.track_running_stats, part.running_mean, part.running_var = False, None, None
    images = lambda n: torch.rand(2, n, 1, 16, 16, dtype=DOUBLE)
    label = torch.arange(3)
    batch = metaft.TaskBatch(images(3), label.repeat(2, 1), images(6), label.repeat(2, 2))
    learner = metaft.learners.MAML(module, metaft.SGD(0.1), 10)
    out = learner.meta_gradient(batch)
    optimiser = torch.optim.SGD(module.parameters(), 0.1)
    for sx, sy, qx, qy in zip(*batch.tensors(), strict=True):
        with higher.innerloop_ctx(module, optimiser, copy_initial_weights=False) as (fast, step):
            for _ in range(10):
                step.step(F.cross_entropy(fast(sx), sy))
            (F.cross_entropy(fast(qx), qy) / 2).backward()
    for name, parameter in module.named_parameters():
        if not name.endswith("conv.bias"):  # its true gradient is 0 before a batch norm
            torch.testing.assert_close(out.grads[name], parameter.grad, rtol=1e-7, atol=1e-10)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"rule": metaft.LSLR(0.1, 1)}, "not LSLR"),
        ({"estimator": "reptile"}, "'exact' and 'first-order'"),
        ({"diagnose": True}, "no adjoint"),
        ({"rule": metaft.TorchOptimiser(lambda p: torch.optim.NAdam(p))}, "no differentiable version"),
    ],
)
def test_what_higher_cannot_do_is_said(wrong, says):
    model, loss, batch = problem()
    options = {"rule": metaft.SGD(0.1), "steps": 1, "engine": "higher"} | wrong
    own = model.params()
    with pytest.raises(metaft.MetaftError, match=says):
        meta_gradient(loss, own | options["rule"].learned(own), batch, **options)


def test_a_torch_optimiser_needs_the_engine():
    model, loss, batch = problem()
    rule = metaft.TorchOptimiser(lambda p: torch.optim.SGD(p, lr=0.1))
    with pytest.raises(metaft.MetaftError, match="engine='higher'"):
        meta_gradient(loss, model.params(), batch, rule=rule, steps=1)
