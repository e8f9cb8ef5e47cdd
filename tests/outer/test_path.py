"""Losses after every step, a start from the support set, parameters of each step: against a loop of plain autograd."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import metaft
from metaft.inner.adapt import TaskStart
from metaft.models import Functional
from metaft.outer.meta_gradient import meta_gradient
from metaft.outer.problem import MEMORY

DOUBLE = torch.float64
RATE, WAYS, WIDTH = 0.3, 3, 4
NORM = ("1.weight", "1.bias")
HEAD = ("3.weight", "3.bias")
WEIGHTS = {"last": None, "every": (0.0, 0.2, 0.3, 0.5), "from the start": (0.1, 0.0, 0.4, 0.5)}


class Case:
    """A small network with batch norm, and the same network as torch itself has it."""

    def __init__(self, begin=False, per_step=False, tasks=3):
        torch.manual_seed(0)
        module = nn.Sequential(nn.Linear(2, WIDTH), nn.BatchNorm1d(WIDTH), nn.Tanh(), nn.Linear(WIDTH, WAYS)).to(DOUBLE)
        self.model = Functional(module)
        self.plain = module
        self.plain[1].track_running_stats, self.plain[1].running_mean, self.plain[1].running_var = False, None, None
        draw = lambda *shape: torch.randn(*shape, dtype=DOUBLE)
        label = torch.arange(WAYS)
        self.batch = metaft.TaskBatch(
            draw(tasks, 6, 2), label.repeat(tasks, 2), draw(tasks, 9, 2), label.repeat(tasks, 3)
        )
        self.params = self.model.params()
        self.per_step = NORM if per_step else ()
        for name in self.per_step:
            self.params[name] = 1 + draw(3, WIDTH) / 2
        self.begin = TaskStart(HEAD, self.head) if begin else None
        if begin:
            self.params = {n: p for n, p in self.params.items() if n not in HEAD}
        self.loss = lambda p, x, y: F.cross_entropy(self.model(p, x), y)

    def head(self, params, x, y):
        body = nn.Sequential(nn.Identity(), nn.Identity(), nn.Tanh())
        normed = F.linear(x, params["0.weight"], params["0.bias"])
        normed = (normed - normed.mean(0)) / (normed.var(0, unbiased=False) + 1e-5).sqrt()
        features = body(normed * params["1.weight"] + params["1.bias"])
        return {"3.weight": features.reshape(2, WAYS, WIDTH).sum(0), "3.bias": features.sum(1)[:WAYS]}

    def by_hand(self, steps, weights, create_graph, rates=None):
        """The unrolled loop, a task at a time, with torch's own batch norm and one call of autograd."""
        start = {n: p.clone().requires_grad_() for n, p in self.params.items()}
        loss_of = lambda p, x, y: F.cross_entropy(torch.func.functional_call(self.plain.train(), p, (x,)), y)
        at = lambda k: {n: p[min(k, 2)] if n in self.per_step else p for n, p in start.items()}
        total = 0.0
        for sx, sy, qx, qy in zip(*self.batch.tensors(), strict=True):
            # Clones: the inner gradient towards the body is not to pass through the head that begins from it.
            fast = {n: p.clone() for n, p in start.items() if n not in self.per_step}
            if self.begin:
                fast = fast | self.head(at(0), sx, sy)
            for k in range(steps + 1):
                if weights[k]:
                    total = total + weights[k] * loss_of(at(max(k - 1, 0)) | fast, qx, qy)
                if k < steps:
                    inner = loss_of(at(k) | fast, sx, sy)
                    grads = torch.autograd.grad(inner, list(fast.values()), create_graph=create_graph)
                    moved = zip(fast.items(), grads, strict=True)
                    fast = {n: v - RATE * (g if create_graph else g.detach()) for (n, v), g in moved}
        total = total / self.batch.tasks
        grads = torch.autograd.grad(total, list(start.values()), allow_unused=True)
        pairs = zip(start.items(), grads, strict=True)
        return total.detach(), {n: torch.zeros_like(p) if g is None else g for (n, p), g in pairs}

    def ours(self, steps=3, **options):
        parts = {"begin": self.begin, "per_step": self.per_step, "rule": metaft.SGD(RATE), "steps": steps}
        return meta_gradient(self.loss, self.params, self.batch, **(parts | options))


def same(ours, theirs, rtol=1e-9):
    for name, value in theirs.items():
        torch.testing.assert_close(ours[name], value, rtol=rtol, atol=1e-11, msg=lambda m, name=name: f"{name}: {m}")


@pytest.mark.parametrize("tasks", [1, 3])
@pytest.mark.parametrize("estimator", ["exact", "first-order"])
@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize(("begin", "per_step"), [(False, False), (True, False), (False, True), (True, True)])
def test_it_is_the_gradient_of_the_loop_as_one_writes_it(begin, per_step, weights, estimator, tasks):
    case = Case(begin, per_step, tasks)
    loss, grads = case.by_hand(3, WEIGHTS[weights] or (0, 0, 0, 1.0), estimator == "exact")
    for memory in MEMORY:
        ours = case.ours(estimator=estimator, memory=memory, step_weights=WEIGHTS[weights])
        torch.testing.assert_close(ours.loss, loss)
        same(ours.grads, grads)


def test_memories_agree_to_the_last_digits():
    case = Case(True, True)
    flat, graph, checkpoints = (case.ours(memory=m, step_weights=WEIGHTS["every"]).grads for m in MEMORY)
    same(flat, graph, 1e-12)
    same(flat, checkpoints, 1e-12)


@pytest.mark.parametrize(("begin", "per_step"), [(False, False), (True, True)])
def test_finite_differences_come_close(begin, per_step):
    case = Case(begin, per_step)
    exact, ours = (case.ours(estimator=e, step_weights=WEIGHTS["every"]).grads for e in ("exact", "finite-difference"))
    for name in without_bias(exact, "0.bias"):
        assert (ours[name] - exact[name]).norm() <= 1e-5 * exact[name].norm() + 1e-8, name


@pytest.mark.parametrize("rule", [metaft.Momentum(0.1), metaft.Adam(0.1), metaft.LSLR(0.1, 3)])
def test_any_rule_goes_with_it(rule):
    case = Case(True, True)
    adapts = {n: p for n, p in case.params.items() if n not in NORM} | dict.fromkeys(HEAD, torch.zeros(1, dtype=DOUBLE))
    case.params |= rule.learned(adapts)
    options = {"rule": rule, "step_weights": WEIGHTS["every"]}
    grads = case.ours(**options).grads
    torch.manual_seed(1)
    for name, value in dict(case.params).items():
        direction, losses = torch.randn_like(value), []
        for sign in (1, -1):
            case.params[name] = value + sign * 1e-6 * direction
            losses.append(case.ours(**options).loss)
        case.params[name] = value
        slope = (losses[0] - losses[1]) / 2e-6
        torch.testing.assert_close((grads[name] * direction).sum(), slope, rtol=1e-5, atol=1e-8)


def test_steps_beyond_those_learned_for_use_the_last():
    case = Case(per_step=True)
    weights = (0.0, 0.0, 0.2, 0.0, 0.8)
    loss, grads = case.by_hand(4, weights, True)
    ours = case.ours(steps=4, step_weights=weights)
    torch.testing.assert_close(ours.loss, loss)
    same(ours.grads, grads)


def test_without_steps_the_start_alone_is_differentiated():
    case = Case(begin=True, per_step=True)
    loss, grads = case.by_hand(0, (1.0,), True)
    ours = case.ours(steps=0)
    torch.testing.assert_close(ours.loss, loss)
    same(ours.grads, grads)


def test_diagnosing_changes_nothing():
    case = Case(True, True)
    plain, ours = (case.ours(step_weights=WEIGHTS["every"], diagnose=d) for d in (False, True))
    same(ours.grads, plain.grads)
    assert ours.adjoint_norms.shape == (4, 3)


def test_a_weight_of_zero_costs_nothing():
    case, asked = Case(), []

    def query_loss(params, sx, sy, qx, qy):
        asked.append(1)
        return case.loss(params, qx, qy)

    case.ours(query_loss=query_loss)  # the first call looks at a loss once more
    for weights, count in ((None, 1), ((0, 0, 0, 1), 1), ((0, 0, 0, 2), 1), ((0, 0.5, 0, 0.5), 2)):
        asked.clear()
        case.ours(step_weights=weights, query_loss=query_loss)
        assert len(asked) == count, weights


def images(tasks=2):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Linear(4, 2)).double()
    label = torch.arange(2)
    draw = lambda n: torch.rand(tasks, n, 1, 8, 8, dtype=DOUBLE)
    return net, metaft.TaskBatch(draw(4), label.repeat(tasks, 2), draw(6), label.repeat(tasks, 3))


def without_bias(grads, name="1.bias"):
    """Without that of the first layer: before a batch norm its gradient is nothing but rounding."""
    return {n: g for n, g in grads.items() if n not in (name, f"rule:{name}")}


@pytest.mark.long  # a path of several steps is compiled in test_meta_gradient too, piece by piece
@pytest.mark.parametrize("estimator", ["exact", "first-order"])
def test_compiled_is_eager_and_other_weights_compile_nothing_anew(estimator):
    net, batch = images()
    grads = {}
    for engine in ("eager", "compile"):
        learner = metaft.learners.build(
            "maml++", net, steps=3, estimator=estimator, engine=engine, epochs=10, multi_step_epochs=5,
            first_order_epochs=0,
        )  # fmt: skip
        learner.meta_gradient(batch)
        learner.set_progress(0.2)
        with torch.compiler.set_stance("fail_on_recompile"):
            grads[engine] = learner.meta_gradient(batch).grads
    same(without_bias(grads["compile"]), without_bias(grads["eager"]))


@pytest.mark.long
def test_a_start_from_the_support_set_compiles_to_the_same():
    net, batch = images()
    learners = [
        metaft.learners.build("proto-maml", net, steps=2, engine=engine, inner_lr=0.1)
        for engine in ("eager", "compile")
    ]
    eager, compiled = (learner.meta_gradient(batch).grads for learner in learners)
    same(without_bias(compiled), without_bias(eager))


@pytest.mark.long  # the path is compiled piece by piece above, and other wholes in test_meta_gradient
@pytest.mark.parametrize(
    "how",
    [{"begin": True, "per_step": True}, {"begin": True}, {"per_step": True}],
    ids=["both", "begin", "per step"],
)
def test_the_whole_compiles_to_the_same(how):
    case = Case(**how)
    same(without_bias(case.ours(engine="compile").grads, "0.bias"), without_bias(case.ours().grads, "0.bias"))


@pytest.mark.parametrize("name", ["maml++", "proto-maml"])
def test_any_number_of_workers_gives_the_same_bits(name):
    net, batch = images(5)
    alone, many = (
        metaft.learners.build(name, net, workers=workers, steps=2).meta_gradient(batch) for workers in (1, 3)
    )
    assert torch.equal(alone.losses, many.losses)
    assert all(torch.equal(alone.grads[n], many.grads[n]) for n in alone.grads)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"step_weights": (1, 1)}, "0 … 3 steps: 4 finite numbers"),
        ({"step_weights": (0, 0, 1, 0)}, "the last above"),
        ({"step_weights": (0, 0, -1, 1)}, "none below 0"),
        ({"step_weights": (0, 0, 1, 1), "estimator": "reptile"}, "'reptile' does not go with a loss after every step"),
        ({"step_weights": (0, 0, 1, 1), "estimator": "implicit"}, "differentiates the solution and not the path"),
        ({"step_weights": (0, 0, 1, 1), "engine": "higher"}, "engine 'higher' does not go with a loss"),
        ({"begin": True, "estimator": "reptile"}, "a start from the support set"),
        ({"begin": True, "scope": "body"}, "leaves out '3.weight'"),
        ({"begin": True, "meta_scope": "head"}, "leaves nothing to train"),
        ({"begin": True, "objective": metaft.L2ToStart(1.0)}, "one start for all tasks"),
        ({"per_step": True, "scope": "1.*"}, "learned for each step instead"),
        ({"per_step": True, "estimator": "implicit"}, "parameters of each step"),
    ],
)
def test_what_does_not_go_together_is_refused(wrong, says):
    case = Case(wrong.pop("begin", False), wrong.pop("per_step", False))
    with pytest.raises(metaft.MetaftError, match=says):
        case.ours(**wrong)
