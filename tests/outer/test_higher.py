"""Agreement with the library higher: in place of our inner loop, and as its users run it, on Conv4 over ten steps."""

import higher
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import metaft
from metaft.models import Conv4, Functional
from metaft.outer.meta_gradient import meta_gradient

DOUBLE = torch.float64


def problem():
    torch.manual_seed(0)
    model = Functional(nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 3)).to(DOUBLE))
    draw = lambda *shape: torch.randn(*shape, dtype=DOUBLE)
    batch = metaft.TaskBatch(draw(3, 4, 2), torch.randint(0, 3, (3, 4)), draw(3, 5, 2), torch.randint(0, 3, (3, 5)))
    return model, (lambda p, x, y: F.cross_entropy(model(p, x), y)), batch


# higher's Adam adds ε before its bias correction, as torch once did; with ε near 0 both are the same algorithm.
@pytest.mark.parametrize("rule", [metaft.SGD(0.1), metaft.Momentum(0.1), metaft.Adam(0.01, eps=1e-15, eps_root=1e-22)])
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
    torch.testing.assert_close(ours.losses, theirs.losses, rtol=1e-6, atol=1e-9)
    for name in theirs.grads:
        torch.testing.assert_close(ours.grads[name], theirs.grads[name], rtol=1e-5, atol=1e-8)


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
