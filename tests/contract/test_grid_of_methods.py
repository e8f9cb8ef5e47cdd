"""Every method, and scope × meta-scope × rule × objective × estimator: it trains, or is refused with the reason.

The product has 2800 points, which is too long to try each time. Tried are all named methods, and of the product as
many points as it takes for every two values of different parts to meet, and a dozen more at random; all of them with
``pytest -n auto tests/contract --whole-grid``.
"""

import json

import pytest
import safetensors.torch
import torch
from torch import nn

import metaft
from metaft.inner.adapt import Inner, adapt
from metaft.learners import build
from metaft.tables import COMPOSITIONS, ESTIMATORS, META_TRAINED, OBJECTIVES, RULES
from metaft.tasks.batch import TaskBatch
from tests.contract.covering import covering, every

NAMES = ("0.weight", "0.bias", "2.weight", "2.bias")
SCOPES = {
    "all": NAMES,
    "head": NAMES[2:],
    "body": NAMES[:2],
    "biases": ("0.bias", "2.bias"),
    "first:1": NAMES[:2],
}
META_SCOPES = {"all,rates": NAMES, "all": NAMES, "body": NAMES[:2], "biases,rates": ("0.bias", "2.bias")}
RATES = {"adam": 0.02, "rmsprop": 0.02}
LEARNS = {"meta-sgd", "lslr", "meta-curvature"}
AXES = {
    "scope": tuple(SCOPES),
    "meta_scope": tuple(META_SCOPES),
    "rule": tuple(RULES),
    "objective": tuple(OBJECTIVES),
    "estimator": tuple(ESTIMATORS),
}
WAYS = 3
STEPS = {"implicit": 20}
"""Inner steps, else 2: the implicit gradient is that of an inner loop that has arrived."""


def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, WAYS)).double()


def tasks(seed=1, count=6):
    """Clouds of points around a centre a class, new centres in every task."""
    rng = torch.Generator().manual_seed(seed)
    centres = torch.randn(count, 1, WAYS, 4, generator=rng, dtype=torch.float64)
    points = (centres + 0.3 * torch.randn(count, 6, WAYS, 4, generator=rng, dtype=torch.float64)).flatten(1, 2)
    labels = torch.arange(WAYS).repeat(count, 6)
    return TaskBatch(points[:, :9], labels[:, :9], points[:, 9:], labels[:, 9:])


def refusal(point):
    """Why a point makes no sense, said without the package's help; None if it does make sense."""
    adapts, trains = SCOPES[point["scope"]], META_SCOPES[point["meta_scope"]]
    rates = point["rule"] in LEARNS and "rates" in point["meta_scope"]
    if point["objective"] == "kl-words":
        return "says words"
    if point["objective"] == "l2-after" and point["estimator"] != "implicit":
        return "after the last step"
    if point["estimator"] == "implicit" and not point["objective"].startswith("l2"):
        return "learned rates" if rates else "objective 'l2'"
    if point["estimator"] in ("implicit", "reptile") and rates:
        return "learned rates"
    if point["estimator"] == "reptile" and not set(trains) <= set(adapts):
        return "meta_scope be the scope"
    return None


def named(point):
    return "-".join(point.values())


def train(learner, batch, iterations=12, rate=0.02):
    """Adam on the meta-gradient, as the training loop does."""
    params = {name: value.clone() for name, value in learner.params.items()}
    learner.params = params
    optimiser = torch.optim.Adam(params.values(), lr=rate)
    losses = []
    for _ in range(iterations):
        out = learner.meta_gradient(batch)
        losses.append(float(out.loss))
        optimiser.zero_grad(set_to_none=True)
        for name, gradient in out.grads.items():
            params[name].grad = gradient
        optimiser.step()
    return losses


def pytest_generate_tests(metafunc):
    if "point" in metafunc.fixturenames:
        whole = metafunc.config.getoption("--whole-grid")
        metafunc.parametrize("point", every(AXES) if whole else covering(AXES, more=12), ids=named)


def test_any_parts_together(point):
    steps = STEPS.get(point["estimator"], 2)
    options = {"inner_lr": RATES.get(point["rule"], 0.2), "steps": steps, **point}
    reason = refusal(point)
    if reason is not None:
        with pytest.raises(metaft.MetaftError, match=reason) as error:
            build("maml", model(), **options)
        assert "\n" not in str(error.value)
        return
    learner, batch = build("maml", model(), **options), tasks()
    start = {name: value.clone() for name, value in learner.params.items()}

    losses = train(learner, batch)
    assert losses[-1] < losses[0], losses

    rates = {name for name in start if name.startswith("rule:")}
    assert bool(rates) == (point["rule"] in LEARNS)
    may = set(META_SCOPES[point["meta_scope"]]) | (rates if "rates" in point["meta_scope"] else set())
    changed = {name for name, value in learner.params.items() if not torch.equal(value, start[name])}
    assert changed == may

    inner = Inner(learner.support_loss, learner.rule, steps, learner.adapts, learner.objective)
    adapted = adapt(inner, learner.params, batch.support_x, batch.support_y)[-1]
    assert set(adapted) == set(SCOPES[point["scope"]])
    for name, value in adapted.items():
        assert value.shape == (batch.tasks, *start[name].shape)
        assert all(not torch.equal(own, learner.params[name]) for own in value), f"{name} did not adapt"

    stored = safetensors.torch.load(safetensors.torch.save(learner.params))
    again = build("maml", model(), **options)
    again.params = stored
    assert torch.equal(again.curve(batch, 3), learner.curve(batch, 3))


def test_imaml_trains_as_in_its_authors_code():
    learner, batch = build("imaml", model(), objective="l2-after"), tasks()
    losses = train(learner, batch)
    assert losses[-1] < losses[0], losses


@pytest.mark.parametrize("name", COMPOSITIONS)
def test_methods_train_as_they_are(name):
    learner, batch = build(name, model()), tasks()
    start = {key: value.clone() for key, value in learner.params.items()}
    losses = train(learner, batch)
    assert losses[-1] < losses[0], losses
    frozen = {row[0] for row in learner.scope_rows() if row[3] != "meta-trained"}
    for key in frozen & set(start):
        assert torch.equal(learner.params[key], start[key]), f"{key} is not meta-trained and moved"
    assert any(not torch.equal(learner.params[key], start[key]) for key in start)
    again = build(name, model())
    again.params = safetensors.torch.load(safetensors.torch.save(learner.params))
    assert torch.equal(again.curve(batch), learner.curve(batch))


@pytest.mark.parametrize("name", META_TRAINED)
def test_methods_run_from_the_command_line(name, tmp_path):
    """Trained, stopped, and loaded from its run directory, a method scores the same."""
    from metaft.assembly.meta_learner import build as parts_of
    from metaft.assembly.meta_learner import load_run
    from metaft.settings.config import load_config

    config = load_config(
        None,
        {
            "dataset": "glyphs", "learner": name, "ways": 3, "queries": 2, "image_size": 16, "hidden": 4, "tasks": 2,
            "iterations": 2, "validate_tasks": 2, "engine": "eager", "workers": 1,
        },
    )  # fmt: skip
    parts = parts_of(config)
    metaft.meta_train(parts.learner, parts.train, out=tmp_path / "run", config=config, progress=False)
    _, loaded = load_run(tmp_path / "run", "last")
    batch = parts.validation.batch(0, 3)
    assert torch.equal(loaded.curve(batch), parts.learner.curve(batch))
    told = json.loads((tmp_path / "run" / "run.json").read_text())["settings"]["learner"]
    assert told["learner"] == name
