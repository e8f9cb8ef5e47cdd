"""Every estimator × rule × objective × scope × memory, against float64 finite differences and torch's own gradcheck."""

from dataclasses import replace
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import metaft
from metaft.errors import MetaftError
from metaft.inner.adapt import Inner, adapt
from metaft.inner.objectives import L2AfterSteps, L2ToStart
from metaft.inner.rules.scaled import Scaled
from metaft.models import Functional
from metaft.outer.exact import Exact
from metaft.outer.finite_difference import FiniteDifference, default_step
from metaft.outer.first_order import FirstOrder
from metaft.outer.implicit import _pulled_back
from metaft.outer.meta_gradient import meta_gradient
from metaft.outer.problem import MEMORY, Problem
from metaft.tables import OBJECTIVES, RULES

DOUBLE = torch.float64
SCOPES = ("all", "head", "body", "biases", "first:1")


def problem(outputs=3, activation=nn.Tanh):
    torch.manual_seed(0)
    model = Functional(nn.Sequential(nn.Linear(2, 4), activation(), nn.Linear(4, outputs)).to(DOUBLE))
    draw = lambda *shape: torch.randn(*shape, dtype=DOUBLE)
    label = lambda n: torch.randint(0, outputs, (3, n))
    batch = metaft.TaskBatch(draw(3, 4, 2), label(4), draw(3, 5, 2), label(5))
    return model, (lambda p, x, y: F.cross_entropy(model(p, x), y)), batch


def with_rates(model, rule, scope="all"):
    own = model.params()
    return own | rule.learned({n: own[n] for n in metaft.select(own, scope)})


PATHS = [name for name in OBJECTIVES if name not in ("l2-after", "kl-words")]
"""The one is part of estimator "implicit", the other of networks that say words."""


def setting(rule_name, objective_name, scope):
    """One point of the grid, three steps long."""
    model, loss, batch = problem()
    rule = RULES.make(rule_name, lr=0.1, steps=2)
    options = {
        "rule": rule,
        "steps": 3,
        "scope": scope,
        "objective": OBJECTIVES.make(objective_name, weight=0.5, predict=model),
    }
    return loss, with_rates(model, rule, scope), batch, options


def slope_error(value, params, grads, eps=1e-6):
    """The largest relative error of directional derivatives by central differences, over all trained tensors."""
    worst = 0.0
    for name, grad in grads.items():
        direction = torch.randn_like(params[name])
        up, down = (value(params | {name: params[name] + s * eps * direction}) for s in (1, -1))
        slope = (up - down) / (2 * eps)
        ours = (grad * direction).sum()
        worst = max(worst, float((ours - slope).abs() / (slope.abs() + 1e-6)))
    return worst


@pytest.mark.share(5)
@pytest.mark.parametrize("rule_name", RULES)
@pytest.mark.parametrize("objective_name", PATHS)
@pytest.mark.parametrize("scope", SCOPES)
def test_exact_is_the_derivative_of_the_query_loss(rule_name, objective_name, scope):
    loss, params, batch, options = setting(rule_name, objective_name, scope)
    out = meta_gradient(loss, params, batch, **options)
    assert set(out.grads) == set(params)
    value = lambda p: meta_gradient(loss, p, batch, **options).loss
    assert slope_error(value, params, out.grads) < 1e-5


@pytest.mark.share(5)
@pytest.mark.parametrize("rule_name", RULES)
@pytest.mark.parametrize("objective_name", PATHS)
@pytest.mark.parametrize("scope", SCOPES)
def test_finite_difference_comes_close_to_exact(rule_name, objective_name, scope):
    loss, params, batch, options = setting(rule_name, objective_name, scope)
    exact, ours = (
        meta_gradient(loss, params, batch, estimator=estimator, **options).grads
        for estimator in ("exact", "finite-difference")
    )
    for name in exact:
        assert (ours[name] - exact[name]).norm() <= 1e-5 * exact[name].norm() + 1e-8, name


@pytest.mark.share(5)
@pytest.mark.parametrize("estimator", ["exact", "first-order", "finite-difference"])
@pytest.mark.parametrize("rule_name", RULES)
@pytest.mark.parametrize("steps", [0, 1, 2, 10])
def test_all_memories_give_the_same_gradient(estimator, rule_name, steps):
    model, loss, batch = problem()
    rule = RULES.make(rule_name, lr=0.05, steps=4)
    params = with_rates(model, rule)
    options = {"rule": rule, "steps": steps, "estimator": estimator, "objective": L2ToStart(0.1)}
    graph, *others = (
        meta_gradient(loss, params, batch, memory=memory, **options).grads
        for memory in sorted(MEMORY, key=lambda memory: memory != "graph")
    )
    assert len(others) == len(MEMORY) - 1
    for ours in others:
        for name in graph:
            torch.testing.assert_close(ours[name], graph[name], rtol=1e-10, atol=1e-13)


@pytest.mark.share(5)
@pytest.mark.parametrize("estimator", [Exact(), FiniteDifference(), FirstOrder()], ids=["exact", "fd", "fo"])
@pytest.mark.parametrize("rule_name", RULES)
@pytest.mark.parametrize("tasks", [1, 3])
@pytest.mark.parametrize("memory", ["flat", "checkpoints"])
def test_in_pieces_as_they_are_compiled_the_gradient_is_the_same(estimator, rule_name, tasks, memory):
    """A step and its way back as one piece, and as several for rules that count steps; here without the compiler."""
    model, loss, batch = problem()
    rule = RULES.make(rule_name, lr=0.1, steps=4)
    params = with_rates(model, rule)
    inner = Inner(loss, rule, 5, objective=L2ToStart(0.1))
    query = lambda p, sx, sy, qx, qy: loss({n: v for n, v in p.items() if ":" not in n}, qx, qy)
    asked = Problem(inner, query, params, tuple(params), batch[:tasks], memory)
    whole, pieces = (estimator(replace(asked, wrap=wrap)) for wrap in (None, lambda piece: piece))
    for name in params:
        torch.testing.assert_close(pieces.grads[name], whole.grads[name], rtol=1e-10, atol=1e-13)


class Slowing:
    """A user's own rule, written before rules said whether they count steps."""

    uses_gradient = False

    def learned(self, params):
        return {}

    def init(self, params):
        return {}

    def step(self, k, params, state, grads, learned):
        return {n: p - 0.1 / (k + 1) * grads[n] for n, p in params.items()}, state


def test_a_rule_that_does_not_say_whether_it_counts_steps_is_not_mistaken():
    model, loss, batch = problem()
    params = model.params()
    asked = Problem(Inner(loss, Slowing(), 4), lambda p, sx, sy, qx, qy: loss(p, qx, qy), params, tuple(params), batch)
    whole, pieces = (Exact()(replace(asked, wrap=wrap)) for wrap in (None, lambda piece: piece))
    for name in params:
        torch.testing.assert_close(pieces.grads[name], whole.grads[name], rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("rule_name", RULES)
def test_rules_say_whether_they_count_steps(rule_name):
    model, _, _ = problem()
    rule = RULES.make(rule_name, lr=0.1, steps=5)
    params, draw = model.params(), torch.Generator().manual_seed(0)
    drawn = lambda of: {n: torch.rand(p.shape, generator=draw, dtype=p.dtype) for n, p in of.items()}
    state = {kind: drawn(part) for kind, part in rule.init(params).items()}
    rates, grads = drawn(rule.learned(params)), drawn(params)
    of_fourth = {n: r[3:4] for n, r in rates.items()} if rule.rates_by_step else rates
    fourth = rule.step(3, params, state, grads, rates)[0]
    as_first = rule.step(0, params, state, grads, of_fourth)[0]
    assert rule.counts_steps == any(not torch.equal(as_first[n], fourth[n]) for n in params)
    scaled = Scaled(rule, 2.0, tuple(params))
    assert (scaled.counts_steps, scaled.rates_by_step) == (rule.counts_steps, rule.rates_by_step)


@pytest.mark.parametrize("rule_name", RULES)
def test_the_flat_adjoint_passes_gradcheck(rule_name):
    """torch.autograd.gradcheck over every entry of every parameter, not only along directions."""
    model, loss, batch = problem()
    rule = RULES.make(rule_name, lr=0.1, steps=2)
    params = with_rates(model, rule)

    class Meta(torch.autograd.Function):
        @staticmethod
        def forward(ctx, *values):
            out = meta_gradient(loss, dict(zip(params, values, strict=True)), batch, rule=rule, steps=2)
            ctx.grads = tuple(out.grads.values())
            return out.loss

        @staticmethod
        def backward(ctx, cotangent):
            return tuple(cotangent * g for g in ctx.grads)

    assert torch.autograd.gradcheck(Meta.apply, tuple(p.clone().requires_grad_() for p in params.values()))


@pytest.mark.parametrize("rule_name", ["sgd", "momentum", "adam"])
def test_rules_step_like_torchs_own_optimisers(rule_name):
    model, loss, batch = problem()
    # Torch's Adam has no ε under the root.
    rule = metaft.Adam(0.1, eps_root=1e-16) if rule_name == "adam" else RULES.make(rule_name, lr=0.1, steps=5)
    ours = adapt(Inner(loss, rule, 5), model.params(), batch.support_x, batch.support_y)[-1]
    make = {
        "sgd": lambda p: torch.optim.SGD(p, 0.1),
        "momentum": lambda p: torch.optim.SGD(p, 0.1, momentum=0.9),
        "adam": lambda p: torch.optim.Adam(p, 0.1),
    }[rule_name]
    for t in range(3):
        theirs = {n: p.requires_grad_() for n, p in model.params().items()}
        optimiser = make(list(theirs.values()))
        for _ in range(5):
            optimiser.zero_grad()
            loss(theirs, batch.support_x[t], batch.support_y[t]).backward()
            optimiser.step()
        for name in theirs:
            torch.testing.assert_close(ours[name][t], theirs[name].detach(), rtol=1e-7, atol=1e-7)


def test_first_order_ignores_the_hessian_and_only_that():
    model, loss, batch = problem()
    params = model.params()
    out = meta_gradient(loss, params, batch, rule=metaft.SGD(0.1), steps=3, estimator="first-order")
    adapted = adapt(Inner(loss, metaft.SGD(0.1), 3), params, batch.support_x, batch.support_y)[-1]
    expected = {n: torch.zeros_like(p) for n, p in params.items()}
    for t in range(3):
        own = {n: p[t].clone().requires_grad_() for n, p in adapted.items()}
        grads = torch.autograd.grad(loss(own, batch.query_x[t], batch.query_y[t]), list(own.values()))
        for n, g in zip(own, grads, strict=True):
            expected[n] += g / 3
    for n in expected:
        torch.testing.assert_close(out.grads[n], expected[n], rtol=1e-10, atol=1e-13)


def test_implicit_agrees_with_the_exact_gradient_of_a_solved_inner_problem():
    """On a long inner loop to the bottom of a convex proximal problem, path and solution have the same derivative."""
    torch.manual_seed(0)
    model = Functional(nn.Linear(2, 3).to(DOUBLE))
    loss = lambda p, x, y: F.cross_entropy(model(p, x), y)
    _, _, batch = problem()
    options = {"rule": metaft.SGD(0.3), "steps": 400, "objective": L2ToStart(0.5)}
    exact = meta_gradient(loss, model.params(), batch, **options)
    ours = meta_gradient(loss, model.params(), batch, estimator="implicit", **options)
    assert ours.residual.max() < 1e-6
    for name, value in exact.grads.items():
        torch.testing.assert_close(ours.grads[name], value, rtol=1e-5, atol=1e-8)
    # Two unknowns a class and a bias: so many iterations solve the system, and fewer do so in part.
    few = meta_gradient(loss, model.params(), batch, estimator="implicit", solver_iterations=2, **options)
    assert (few.residual > 100 * ours.residual.max()).all()
    assert (few.residual < 1).all()


def test_implicit_as_in_its_authors_code_is_worked_out_by_hand():
    """Steps down the loss, one down the pull alone, then (2 I + H/(λ + 10)) g = ∇L_query by a dense solve."""
    torch.manual_seed(0)
    model = Functional(nn.Linear(2, 3).to(DOUBLE))
    loss = lambda p, x, y: F.cross_entropy(model(p, x), y)
    params, (_, _, batch), rate, weight = model.params(), problem(), 0.3, 2.0
    ours = meta_gradient(
        loss, params, batch, rule=metaft.SGD(rate), steps=4, estimator="implicit", objective=L2AfterSteps(weight)
    )
    flat = lambda own: torch.cat([v.reshape(-1) for v in own.values()])
    parts = [p.numel() for p in params.values()]
    shaped = lambda v: {n: w.view_as(params[n]) for n, w in zip(params, v.split(parts), strict=True)}
    of = lambda x, y, v: loss(shaped(v), x, y)
    expected = torch.zeros_like(flat(params))
    for x, y, query_x, query_y in zip(*batch.tensors(), strict=True):
        of_flat = partial(of, x, y)
        start = at = flat(params)
        for _ in range(4):
            at = at - rate * torch.func.grad(of_flat)(at)
        at = at - rate * weight * (at - start)
        system = 2 * torch.eye(len(at), dtype=DOUBLE) + torch.func.hessian(of_flat)(at) / (weight + 10)
        wanted = torch.func.grad(partial(of, query_x, query_y))(at)
        expected += torch.linalg.solve(system, wanted) / batch.tasks
    torch.testing.assert_close(flat(ours.grads), expected, rtol=1e-5, atol=1e-8)


def test_the_pull_after_the_steps_is_one_first_step_of_the_rule_and_none_at_test():
    """Adam's first step has the length of its rate, whatever the number of inner steps before it."""
    model, loss, batch = problem()
    inner = Inner(loss, metaft.Adam(0.1), 16, objective=L2AfterSteps(1.0))
    plain = Inner(loss, metaft.Adam(0.1), 16)
    params = model.params()
    adapted, same = (adapt(one, params, batch.support_x, batch.support_y)[-1] for one in (inner, plain))
    assert all(torch.equal(adapted[n], same[n]) for n in adapted)
    pulled = _pulled_back(inner, adapted, params, params, 1.0)
    for n, value in pulled.items():
        torch.testing.assert_close((value - adapted[n]).abs().max().item(), 0.1, rtol=1e-3, atol=0.0)


def test_a_solver_without_iterations_is_refused():
    model, loss, batch = problem()
    with pytest.raises(MetaftError, match="solver_iterations must be a whole number of at least 1, not 0"):
        meta_gradient(
            loss, model.params(), batch, rule=metaft.SGD(0.3), steps=1, estimator="implicit",
            objective=L2ToStart(1.0), solver_iterations=0,
        )  # fmt: skip


def test_implicit_gradient_towards_parameters_that_do_not_adapt():
    model, loss, batch = problem()
    options = {"rule": metaft.SGD(0.3), "steps": 60, "objective": L2ToStart(1.0), "scope": "head"}
    exact = meta_gradient(loss, model.params(), batch, **options)
    ours = meta_gradient(loss, model.params(), batch, estimator="implicit", **options)
    for name, value in exact.grads.items():
        torch.testing.assert_close(ours.grads[name], value, rtol=1e-4, atol=1e-7)


def test_reptile_points_away_from_where_the_inner_loop_went():
    model, loss, batch = problem()
    params = model.params()
    out = meta_gradient(loss, params, batch, rule=metaft.SGD(0.1), steps=4, estimator="reptile")
    both = [torch.cat(pair, dim=1) for pair in ((batch.support_x, batch.query_x), (batch.support_y, batch.query_y))]
    for t in range(3):
        theirs = {n: p.requires_grad_() for n, p in model.params().items()}
        optimiser = torch.optim.SGD(list(theirs.values()), 0.1)
        for _ in range(4):
            optimiser.zero_grad()
            loss(theirs, both[0][t], both[1][t]).backward()
            optimiser.step()
        out.grads["0.weight"] -= (params["0.weight"] - theirs["0.weight"].detach()) / 3
    assert out.grads["0.weight"].abs().max() < 1e-12


@pytest.mark.parametrize("steps", [1, 4])
def test_adjoint_norms_of_a_linear_model_have_their_closed_form(steps):
    """v_k = (I − αH) v_{k+1}: with a Hessian of 2 on every axis, each step shrinks the adjoint by 1 − 2α."""
    x = (2.0**0.5) * torch.eye(2, dtype=DOUBLE).repeat(2, 1, 1)
    y, q = torch.zeros(2, 2, dtype=DOUBLE), torch.randn(2, 2, 2, dtype=DOUBLE)
    square = lambda p, x, y: ((x @ p["w"] - y) ** 2).mean()
    out = meta_gradient(
        square, {"w": torch.ones(2, dtype=DOUBLE)}, metaft.TaskBatch(x, y, q, y), rule=metaft.SGD(0.1), steps=steps,
        diagnose=True,
    )  # fmt: skip
    assert out.adjoint_norms.shape == (steps + 1, 2)
    shrink = out.adjoint_norms[:-1] / out.adjoint_norms[1:]
    torch.testing.assert_close(shrink, torch.full_like(shrink, 0.8))
    plain = meta_gradient(
        square, {"w": torch.ones(2, dtype=DOUBLE)}, metaft.TaskBatch(x, y, q, y), rule=metaft.SGD(0.1), steps=steps
    )
    torch.testing.assert_close(out.grads["w"], plain.grads["w"])


def test_only_the_meta_trained_set_gets_a_gradient():
    model, loss, batch = problem()
    out = meta_gradient(loss, model.params(), batch, rule=metaft.SGD(0.1), steps=1, scope="head", meta_scope="body")
    assert set(out.grads) == {"0.weight", "0.bias"}
    everything = meta_gradient(loss, model.params(), batch, rule=metaft.SGD(0.1), steps=1, scope="head")
    for name, value in out.grads.items():
        torch.testing.assert_close(value, everything.grads[name])


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"scope": "features.9.*"}, "matches no parameter"),
        ({"scope": "haed"}, "did you mean 'head'"),
        ({"scope": "last:3"}, "2 blocks"),
        ({"meta_scope": "0.wieght"}, "did you mean '0.weight'"),
        ({"estimator": "implicit"}, "objective 'l2'"),
        ({"objective": L2AfterSteps(1.0)}, "after the last step, which is part of estimator 'implicit'"),
        ({"estimator": "implicit", "objective": L2ToStart(1.0), "rule": metaft.MetaSGD(0.1)}, "learned rates"),
        ({"estimator": "reptile", "scope": "head"}, "'0.weight' does not"),
        ({"estimator": "reptile", "steps": 0}, "at least 1"),
        ({"rule": metaft.MetaSGD(0.1), "bare": True}, "rule.learned"),
    ],
)
def test_what_does_not_go_together_is_refused(wrong, says):
    model, loss, batch = problem()
    options = {"rule": metaft.SGD(0.1), "steps": 1} | wrong
    bare = options.pop("bare", False)
    params = model.params() if bare else with_rates(model, options["rule"])
    with pytest.raises(metaft.MetaftError, match=says):
        meta_gradient(loss, params, batch, **options)


def test_the_default_step_shrinks_with_the_precision():
    assert default_step(torch.float32) == pytest.approx(2.42e-5, rel=1e-2)
    assert default_step(torch.float64) == pytest.approx(3.67e-11, rel=1e-2)
