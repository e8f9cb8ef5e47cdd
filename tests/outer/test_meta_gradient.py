"""The meta-gradient against closed forms, finite differences, and a plain autograd loop that shares no code with it."""

import threading

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import metaft
from metaft.models import Conv4, Functional
from metaft.outer.meta_gradient import meta_gradient

DOUBLE = torch.float64


def quadratic(params, x, y):
    """A linear model's squared error: its Hessian is known by hand."""
    return ((x @ params["w"] - y) ** 2).mean()


def linear_tasks(tasks=3, dim=2, seed=0):
    g = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.randn(*shape, generator=g, dtype=DOUBLE)
    return metaft.TaskBatch(draw(tasks, 4, dim), draw(tasks, 4), draw(tasks, 5, dim), draw(tasks, 5)), draw(dim)


def mlp_setup(activation=nn.Tanh):
    torch.manual_seed(0)
    model = Functional(nn.Sequential(nn.Linear(1, 6), activation(), nn.Linear(6, 1)).to(DOUBLE))
    loss = lambda p, x, y: F.mse_loss(model(p, x), y)
    batch = metaft.TaskBatch(*(t.to(DOUBLE) for t in metaft.families.sinusoid(seed=3).batch(0, 4).tensors()))
    return loss, model.params(), batch


def one_neuron_setup():
    """As few operations as a loss with a Hessian of its own at every point can have: tracing takes a while for each."""
    batch, w = linear_tasks()
    return (lambda params, x, y: ((x @ params["w"]).tanh() - y).square().mean()), {"w": w}, batch


def by_autograd_loop(loss, params, batch, lr, steps, query_loss=None, create_graph=True):
    """MAML as its users write it: a loop over tasks with a stored graph."""
    query = query_loss or (lambda p, sx, sy, qx, qy: loss(p, qx, qy))
    start = {k: v.clone().requires_grad_() for k, v in params.items()}
    total = 0.0
    for t in range(batch.tasks):
        sx, sy, qx, qy = (x[t] for x in batch.tensors())
        fast = start
        for _ in range(steps):
            grads = torch.autograd.grad(loss(fast, sx, sy), list(fast.values()), create_graph=create_graph)
            if not create_graph:
                grads = [g.detach() for g in grads]
            fast = {k: v - lr * g for (k, v), g in zip(fast.items(), grads, strict=True)}
        total = total + query(fast, sx, sy, qx, qy)
    total = total / batch.tasks
    return total.detach(), dict(zip(start, torch.autograd.grad(total, list(start.values())), strict=True))


def relative_error(a, b):
    num = sum((a[k] - b[k]).square().sum() for k in b)
    return float((num / sum(b[k].square().sum() for k in b)).sqrt())


@pytest.mark.parametrize("steps", [1, 2, 3])
@pytest.mark.parametrize("estimator", ["exact", "first-order"])
def test_linear_model_has_the_closed_form(steps, estimator):
    batch, w = linear_tasks()
    lr = 0.1
    out = meta_gradient(quadratic, {"w": w}, batch, rule=metaft.SGD(lr), steps=steps, estimator=estimator)
    expected = torch.zeros_like(w)
    for x, y, qx, qy in zip(*batch.tensors(), strict=True):
        hessian, pull = 2 * x.T @ x / len(x), 2 * x.T @ y / len(x)
        contraction = torch.eye(2, dtype=DOUBLE) - lr * hessian
        adapted = w
        for _ in range(steps):
            adapted = contraction @ adapted + lr * pull
        at_query = 2 * qx.T @ (qx @ adapted - qy) / len(qx)
        through = torch.linalg.matrix_power(contraction, steps) if estimator == "exact" else torch.eye(2, dtype=DOUBLE)
        expected += through @ at_query / batch.tasks
    torch.testing.assert_close(out.grads["w"], expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("memory", ["flat", "graph"])
@pytest.mark.parametrize("steps", [0, 1, 3])
def test_exact_agrees_with_finite_differences(steps, memory):
    loss, params, batch = mlp_setup()
    options = {"rule": metaft.SGD(0.1), "steps": steps, "memory": memory}
    out = meta_gradient(loss, params, batch, **options)
    for name, value in params.items():
        direction = torch.randn_like(value, generator=None)
        shifted = [
            meta_gradient(loss, {**params, name: value + s * 1e-6 * direction}, batch, **options).loss for s in (1, -1)
        ]
        slope = (shifted[0] - shifted[1]) / 2e-6
        torch.testing.assert_close((out.grads[name] * direction).sum(), slope, rtol=1e-6, atol=1e-9)


def test_flat_and_graph_give_the_same_gradient():
    loss, params, batch = mlp_setup()
    flat, graph = (
        meta_gradient(loss, params, batch, rule=metaft.SGD(0.1), steps=7, memory=memory) for memory in ("flat", "graph")
    )
    assert relative_error(flat.grads, graph.grads) < 1e-12


@pytest.mark.parametrize("estimator", ["exact", "first-order"])
@pytest.mark.parametrize("batch_norm", ["transductive", "inductive"])
@pytest.mark.parametrize("pool", ["stride", "max"])
def test_conv4_agrees_with_a_plain_autograd_loop(estimator, batch_norm, pool):
    torch.manual_seed(0)
    module = Conv4(1, 16, 3, hidden=4, pool=pool).to(DOUBLE)
    images = lambda n: torch.rand(3, n, 1, 16, 16, dtype=DOUBLE)
    label = torch.arange(3)
    batch = metaft.TaskBatch(images(3), label.repeat(3, 1), images(6), label.repeat(3, 2))
    learner = metaft.learners.MAML(module, metaft.SGD(0.5), 2, estimator, batch_norm=batch_norm)
    out = learner.meta_gradient(batch)

    def forward(params, x):  # the module itself in training mode, with torch's own batch norm
        return torch.func.functional_call(module, params, (x,), tie_weights=False)

    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.track_running_stats, part.running_mean, part.running_var = False, None, None
    support = lambda p, x, y: F.cross_entropy(forward(p, x), y)
    if batch_norm == "transductive":
        query = lambda p, sx, sy, qx, qy: support(p, qx, qy)
    else:
        query = lambda p, sx, sy, qx, qy: F.cross_entropy(inductive_conv4(module, p, sx, qx), qy)
    loss, grads = by_autograd_loop(support, learner.params, batch, 0.5, 2, query, create_graph=estimator == "exact")
    torch.testing.assert_close(out.loss, loss)
    # Biases before a batch norm have no gradient but rounding.
    seen = {k for k in grads if not k.endswith("conv.bias")}
    assert relative_error({k: out.grads[k] for k in seen}, {k: grads[k] for k in seen}) < 1e-9


def inductive_conv4(module, params, support_x, query_x):
    """Conv4 layer by layer: both sets side by side, each layer normalised by the support set's mean and variance."""
    s, q = support_x, query_x
    for i, block in enumerate(module.features[:4]):
        p = {k.split(".", 2)[2]: v for k, v in params.items() if k.startswith(f"features.{i}.")}
        stride = block.conv.stride
        s, q = (F.conv2d(x, p["conv.weight"], p["conv.bias"], stride=stride, padding=1) for x in (s, q))
        mean, var = s.mean((0, 2, 3), keepdim=True), s.var((0, 2, 3), unbiased=False, keepdim=True)
        s, q = ((x - mean) / (var + 1e-5).sqrt() for x in (s, q))
        s, q = (x * p["norm.weight"][:, None, None] + p["norm.bias"][:, None, None] for x in (s, q))
        s, q = s.relu(), q.relu()
        if hasattr(block, "pool"):
            s, q = F.max_pool2d(s, 2), F.max_pool2d(q, 2)
    flat = q.mean((2, 3)) if isinstance(module.features[4], nn.AdaptiveAvgPool2d) else q.flatten(1)
    return F.linear(flat, params["head.weight"], params["head.bias"])


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_any_number_of_workers_gives_the_same_bits(workers):
    model = Conv4(1, 16, 2, hidden=4)
    learner = metaft.learners.MAML(model, metaft.SGD(0.5), 1)
    learner.workers = workers
    alone = metaft.learners.MAML(model, metaft.SGD(0.5), 1)
    torch.manual_seed(0)
    batch = metaft.TaskBatch(
        torch.rand(20, 2, 1, 16, 16),
        torch.arange(2).repeat(20, 1),
        torch.rand(20, 4, 1, 16, 16),
        torch.arange(2).repeat(20, 2),
    )
    ours, theirs = learner.meta_gradient(batch), alone.meta_gradient(batch)
    assert torch.equal(ours.losses, theirs.losses)
    assert all(torch.equal(ours.grads[k], theirs.grads[k]) for k in theirs.grads)


def test_chunks_add_up_to_the_whole():
    loss, params, batch = mlp_setup()
    whole = meta_gradient(loss, params, batch, rule=metaft.SGD(0.1), steps=2)
    parts = meta_gradient(loss, params, batch, rule=metaft.SGD(0.1), steps=2, chunk=3)
    assert relative_error(parts.grads, whole.grads) < 1e-12
    torch.testing.assert_close(parts.losses, whole.losses)


TOGETHER = {"objective": metaft.L2ToStart(0.3), "diagnose": True, "memory": "checkpoints", "steps": 4}


@pytest.mark.long
def test_compiled_agrees_with_eager():
    """As a whole, with nothing besides; `make test` compiles it with more, below, in test_path and in test_update."""
    loss, params, batch = mlp_setup(nn.ReLU)
    eager, compiled = (
        meta_gradient(loss, params, batch, rule=metaft.SGD(0.1), steps=2, engine=engine)
        for engine in ("eager", "compile")
    )
    assert relative_error(compiled.grads, eager.grads) < 1e-12


@pytest.mark.parametrize(
    ("setup", "options"),
    [
        pytest.param(one_neuron_setup, TOGETHER, marks=pytest.mark.long),  # test_update compiles a whole
        *(
            pytest.param(mlp_setup, options, marks=pytest.mark.long)
            for options in (
                TOGETHER,
                {"objective": metaft.L2ToStart(0.3)},
                {"diagnose": True},
                {"memory": "checkpoints", "steps": 4},
            )
        ),
    ],
    ids=["one neuron", "all at once", "l2", "diagnose", "checkpoints"],
)
def test_compiled_as_a_whole_agrees_with_eager(setup, options):
    """Small networks over several steps: the reverse pass itself is traced."""
    loss, params, batch = setup()
    eager, compiled = (
        meta_gradient(loss, params, batch, **{"rule": metaft.SGD(0.1), "steps": 2, "engine": engine, **options})
        for engine in ("eager", "compile")
    )
    assert relative_error(compiled.grads, eager.grads) < 1e-12
    torch.testing.assert_close(compiled.adjoint_norms, eager.adjoint_norms)
    torch.testing.assert_close(compiled.loss, eager.loss)


def test_a_parameter_the_loss_does_not_use_has_gradient_zero():
    batch, w = linear_tasks()
    out = meta_gradient(quadratic, {"w": w, "idle": w.clone()}, batch, rule=metaft.SGD(0.1), steps=2)
    assert torch.equal(out.grads["idle"], torch.zeros_like(w))


def test_meta_parameters_and_module_stay_untouched():
    model = Conv4(1, 16, 2, hidden=4)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    learner = metaft.learners.MAML(model, metaft.SGD(0.5), 2)
    start = {k: v.clone() for k, v in learner.params.items()}
    batch = metaft.TaskBatch(
        torch.rand(2, 2, 1, 16, 16),
        torch.arange(2).repeat(2, 1),
        torch.rand(2, 4, 1, 16, 16),
        torch.arange(2).repeat(2, 2),
    )
    learner.meta_gradient(batch)
    curve = learner.curve(batch, 3)
    assert not curve.requires_grad
    assert curve.shape == (4, 2, 4, 2)
    assert all(torch.equal(model.state_dict()[k], v) for k, v in before.items())
    assert all(torch.equal(learner.params[k], v) and not learner.params[k].requires_grad for k, v in start.items())
    torch.testing.assert_close(learner.adapt(batch.support_x, batch.support_y)(batch.query_x), curve[2])


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"estimator": "exat"}, "did you mean 'exact'"),
        ({"memory": "flatt"}, "did you mean 'flat'"),
        ({"engine": "jit"}, "unknown engine 'jit'"),
        ({"steps": -1}, "at least 0, not -1"),
        ({"workers": 0}, "workers"),
    ],
)
def test_wrong_options_are_named(wrong, says):
    batch, w = linear_tasks()
    with pytest.raises(metaft.MetaftError, match=says):
        meta_gradient(quadratic, {"w": w}, batch, **({"rule": metaft.SGD(0.1), "steps": 1} | wrong))


@pytest.mark.parametrize("lr", [0.0, -1.0, float("nan"), float("inf")])
def test_a_rate_must_be_positive_and_finite(lr):
    with pytest.raises(metaft.MetaftError, match="inner rate"):
        metaft.SGD(lr)


class Tiny(nn.Sequential):
    """One block, which compiles in seconds."""

    def __init__(self):
        super().__init__(nn.Conv2d(1, 2, 3, 2), nn.BatchNorm2d(2), nn.ReLU(), nn.Flatten(), nn.Linear(98, 2))


@pytest.mark.parametrize(
    ("estimator", "rule"),
    [
        # A step as several pieces, with a state. A step as one piece is compiled in test_path, within MAML++.
        ("exact", metaft.Adam(0.1)),
        *(
            pytest.param(estimator, rule, marks=pytest.mark.long)
            for estimator, rule in (
                ("implicit", metaft.SGD(0.1)),
                ("exact", metaft.LSLR(0.1, 2)),
                ("exact", metaft.SGD(0.1)),
                ("exact", metaft.Momentum(0.1)),
                ("exact", metaft.MetaSGD(0.1)),
                ("finite-difference", metaft.SGD(0.1)),
                ("reptile", metaft.Adam(0.1)),
                ("reptile", metaft.SGD(0.1)),
            )
        ),
    ],
)
def test_compiled_piece_by_piece_agrees_with_eager(estimator, rule):
    """Images over several steps: one compiled step and its way back, whatever K."""
    torch.manual_seed(0)
    model = Tiny().to(DOUBLE)
    label = torch.arange(2)
    batch = metaft.TaskBatch(
        torch.rand(3, 2, 1, 16, 16, dtype=DOUBLE),
        label.repeat(3, 1),
        torch.rand(3, 4, 1, 16, 16, dtype=DOUBLE),
        label.repeat(3, 2),
    )
    objective = "l2" if estimator == "implicit" else "task"
    grads = [
        metaft.learners.MAML(model, rule, 3, estimator, engine=engine, objective=objective, objective_weight=5.0)
        .meta_gradient(batch)
        .grads
        for engine in ("eager", "compile")
    ]
    seen = [name for name in grads[0] if name != "0.bias"]  # nothing but rounding, before a batch norm
    # Conjugate gradients stop at 1e-6, and differences of gradients lose half of the digits.
    limit = {"finite-difference": 1e-4, "implicit": 1e-5}.get(estimator, 1e-9)
    assert relative_error({n: grads[1][n] for n in seen}, {n: grads[0][n] for n in seen}) < limit


@pytest.mark.long
def test_more_shapes_than_torchs_limit_of_recompilations_can_be_compiled():
    batch, w = linear_tasks()
    options = {"rule": metaft.SGD(0.01), "steps": 1}
    with torch._dynamo.config.patch(recompile_limit=2):  # 8 by default, which would take a minute
        for tasks in (1, 2, 3):
            ours, eager = (
                meta_gradient(quadratic, {"w": w}, batch[:tasks], engine=engine, **options)
                for engine in ("compile", "eager")
            )
            torch.testing.assert_close(ours.grads["w"], eager.grads["w"])


def test_the_limit_is_raised_in_the_thread_that_compiles(monkeypatch: pytest.MonkeyPatch) -> None:
    from metaft.outer import compiled

    monkeypatch.setattr(torch, "compile", lambda function, **options: function)
    monkeypatch.setattr(compiled, "compiler_found", lambda: True)
    seen = []
    run = compiled.compile_if_possible(lambda x: seen.append(torch._dynamo.config.recompile_limit) or x)
    thread = threading.Thread(target=run, args=(torch.zeros(1),))
    thread.start()
    thread.join()
    assert seen == [256]


def test_pieces_over_large_images_are_not_compiled_and_equal(monkeypatch: pytest.MonkeyPatch) -> None:
    from metaft.outer import compiled

    calls = set()
    monkeypatch.setattr(compiled, "compile_if_possible", lambda f: lambda *args: calls.add(len(args)) or f(*args))
    monkeypatch.setattr(compiled, "MOST_VALUES", 5 * 4 * 16 * 16)  # the first convolution's answer to 5 images
    model = metaft.models.build("conv4", outputs=5, input_shape=(1, 16, 16), seed=0, hidden=4, pool="max")
    draw = torch.Generator().manual_seed(0)
    x, y = torch.rand(2, 15, 1, 16, 16, generator=draw), torch.arange(5).repeat(2, 3)
    batch = metaft.TaskBatch(x[:, :5], y[:, :5], x[:, 5:], y[:, 5:])
    learner, eager = (
        metaft.learners.MAML(model, metaft.SGD(lr=0.1), steps=3, engine=engine) for engine in ("compile", "eager")
    )
    first, built = learner.meta_gradient(batch), learner.meta_gradient(batch)
    assert calls == {7, 12}, "steps (7 arguments) and their way back (12), not the query pass (8) with its 10 images"
    for name, grad in eager.meta_gradient(batch).grads.items():
        torch.testing.assert_close(first.grads[name], grad, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(built.grads[name], grad, rtol=1e-5, atol=1e-6)
