"""What makes each method that method cannot be contradicted; what its paper chose is the default, by kind of tasks."""

import pytest
import torch

import metaft
from metaft.assembly.meta_learner import build as parts_of
from metaft.inner.rules import RMSProp
from metaft.learners import build, options
from metaft.models import MLP, Conv4
from metaft.plugins import named_part
from metaft.settings.config import RunConfig, load_config, to_toml, validated
from metaft.settings.defaults import BY_METHOD
from metaft.tables import COMPOSITIONS, LEARNERS, META_TRAINED


def mlp(name, **options):
    return build(name, MLP(1, 1, hidden=(4,)), kind="regression", **options)


@pytest.mark.parametrize(
    ("name", "parts", "said"),
    [
        (
            "boil",
            {"scope": "head"},
            "'boil' is defined by scope 'body', not 'head'; for scope 'head' use learner 'anil'",
        ),
        ("anil", {"scope": "biases"}, "defined by scope 'head', not 'biases'; use learner 'maml' for a free choice"),
        ("fomaml", {"estimator": "reptile"}, "for estimator 'reptile' use learner 'reptile', or 'maml'"),
        ("reptile", {"estimator": "exact"}, "defined by estimator 'reptile', not 'exact'"),
        ("imaml", {"objective": "task"}, "defined by objective 'l2', not 'task'"),
        ("meta-sgd", {"rule": "meta-curvature"}, "for rule 'meta-curvature' use learner 'meta-curvature'"),
        ("cavia", {"meta_scope": "all"}, "defined by meta_scope 'all,!context,rates', not 'all'"),
        ("maml", {"scope": "context"}, "no context vector; use learner 'cavia'"),
        ("maml", {"scope": "none"}, "leaves nothing that adapts"),
        ("maml", {"meta_scope": "none"}, "leaves nothing to meta-train"),
        ("meta-sgd", {"steps": 0}, "steps = 0 takes none"),
        ("imaml", {"steps": 0}, "at least 1 inner step"),
        ("anil", {"solver_iterations": 3}, "are of estimator 'implicit', not 'exact'"),
        ("reptile", {"steps": 0}, "at least 1 inner step"),
        ("reptile", {"scope": "head", "meta_scope": "all"}, "let meta_scope be the scope"),
        ("maml", {"estimator": "implicit"}, "use objective 'l2'"),
        ("imaml", {"rule": "lslr"}, "cannot train learned rates"),
        ("maml", {"objective_weight": 2.0}, "objective 'task' has none"),
        ("maml", {"rule": "sdg"}, "did you mean 'sgd'"),
        ("maml", {"engine": "higher", "estimator": "finite-difference"}, "engine 'higher' knows"),
        ("cavia", {"context": 0}, "size of a context must be a whole number of at least 1"),
    ],
)
def test_what_makes_no_sense_is_one_line(name, parts, said):
    with pytest.raises(metaft.MetaftError, match=said) as error:
        mlp(name, **parts)
    assert "\n" not in str(error.value)


def test_what_agrees_with_a_method_may_be_said():
    assert mlp("anil", scope="head").adapts == mlp("anil").adapts
    assert mlp("imaml", objective="l2", objective_weight=3.0).objective.weight == 3.0
    assert mlp("imaml").objective.weight == 2.0
    assert mlp("imaml").estimate.iterations == 5
    assert mlp("imaml", solver_iterations=9).estimate.iterations == 9


def test_methods_are_what_their_papers_say():
    network = Conv4(1, 16, 3, hidden=4)
    own = dict(network.named_parameters())
    head, body = {"head.weight", "head.bias"}, set(own) - {"head.weight", "head.bias"}
    anil, boil, cavia = (build(name, network) for name in ("anil", "boil", "cavia"))
    assert (set(anil.adapts), set(anil.trains)) == (head, set(own))
    assert (set(boil.adapts), set(boil.trains)) == (body, set(own))
    (context,) = cavia.adapts
    assert context == "features.2.norm.context.vector"
    assert set(own) < set(cavia.params)
    assert set(cavia.trains) == set(cavia.params) - {context}
    assert not cavia.params[context].any()
    assert isinstance(build("reptile", network).rule, RMSProp)
    assert build("reptile", network, scope="head").trains == tuple(n for n in own if n in head)
    rates = build("meta-sgd", network).params
    assert all(rates[f"rule:{name}"].shape == value.shape for name, value in own.items())


def test_reptile_is_adam_without_momentum_towards_the_adapted_parameters():
    learner = mlp("reptile", inner_lr=0.01, steps=3)
    batch = metaft.families.sinusoid(seed=0).batch(0, 2)
    grads = learner.meta_gradient(batch).grads
    expected = {name: torch.zeros_like(value) for name, value in learner.params.items()}
    for x, y, qx, qy in zip(*batch.tensors(), strict=True):
        moved = {name: value.clone().requires_grad_() for name, value in learner.params.items()}
        optimiser = torch.optim.Adam(moved.values(), lr=0.01, betas=(0.0, 0.999))
        for _ in range(3):
            optimiser.zero_grad()
            learner.support_loss(moved, torch.cat([x, qx]), torch.cat([y, qy])).backward()
            optimiser.step()
        for name in expected:
            expected[name] += (learner.params[name] - moved[name].detach()) / 2
    for name in expected:  # ε stands under the root too, which torch's Adam lacks
        torch.testing.assert_close(grads[name], expected[name], rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize(
    ("settings", "rate", "steps", "at_test"),
    [
        ({"learner": "maml"}, 2.0, 1, 3),
        ({"learner": "maml", "steps": 2}, 2.0, 2, None),
        ({"learner": "maml", "scope": "biases"}, 2.0, 1, None),
        ({"learner": "maml", "inner_lr": 0.5}, 0.5, 1, 3),
        ({"learner": "maml", "dataset": "mine:Waves"}, 2.0, 1, None),
        ({"learner": "fomaml"}, 0.3, 1, 3),
        ({"learner": "fomaml", "ways": 20}, 1.0, 5, None),
        ({"learner": "fomaml", "dataset": "mini-imagenet"}, 0.05, 5, 10),
        ({"learner": "fomaml", "dataset": "sinusoid"}, 0.01, 1, None),
        ({"learner": "anil"}, 2.0, 1, None),
        ({"learner": "maml", "ways": 20}, 2.0, 5, None),
        ({"learner": "maml", "ways": 20, "steps": 1}, 2.0, 1, None),
        ({"learner": "maml", "dataset": "sinusoid"}, 0.01, 1, None),
        ({"learner": "boil"}, 0.5, 1, None),
        ({"learner": "boil", "dataset": "mini-imagenet"}, 0.5, 1, None),
        ({"learner": "maml", "dataset": "mini-imagenet"}, 0.05, 5, 10),
        ({"learner": "maml", "dataset": "mini-imagenet", "steps": 3}, 0.05, 3, None),
        ({"learner": "reptile"}, 0.001, 3, 5),
        ({"learner": "reptile", "ways": "15-20"}, 0.00046, 12, 97),
        ({"learner": "reptile", "dataset": "sinusoid"}, 0.02, 5, None),
        ({"learner": "reptile", "dataset": "sinusoid", "inner_lr": 0.5}, 0.5, 5, None),
        ({"learner": "imaml", "ways": "20"}, 0.1, 25, None),
        ({"learner": "cavia", "dataset": "sinusoid"}, 1.0, 1, None),
        ({"learner": "protonet"}, None, None, None),
        ({"learner": "protonet", "dataset": "mini-imagenet"}, None, None, None),
    ],
)
def test_rate_and_steps_are_the_published_ones(settings, rate, steps, at_test):
    config = validated(RunConfig, settings)
    assert (config.inner_lr, config.steps, config.test_steps) == (rate, steps, at_test)


@pytest.mark.parametrize("name", BY_METHOD)
def test_defaults_are_settings_and_survive_a_file(name, tmp_path):
    for kind in BY_METHOD[name].values():
        assert set(kind) <= set(RunConfig.model_fields) | set(META_TRAINED.options(name))
    for dataset in ("glyphs", "sinusoid", "mini-imagenet"):
        config = validated(RunConfig, {"learner": name, "dataset": dataset})
        (tmp_path / "c.toml").write_text(to_toml(config))
        assert load_config(tmp_path / "c.toml") == config


@pytest.mark.parametrize("name", META_TRAINED)
def test_a_method_is_told_its_options_by_its_name_and_survives_a_file(name, tmp_path):
    for option in META_TRAINED.options(name).values():
        value = {"scope": "head", "rule": "adam:beta1=0.5", "context": 3}.get(option.name, option.default)
        if value is None or (option.default is None and option.name not in ("scope", "rule", "context")):
            continue
        config = validated(RunConfig, {"learner": f"{name}:{option.name}={value}".replace("True", "true")})
        told = getattr(config, option.name, None)
        assert config.method == name
        told = named_part(config.learner, "learner").options[option.name] if told is None else told
        assert str(told) == str(value)
        (tmp_path / "c.toml").write_text(to_toml(config))
        assert load_config(tmp_path / "c.toml") == config


@pytest.mark.parametrize(
    ("older", "now"),
    [
        (
            {"learner": "protonet", "distance": "cosine", "learned_scale": False},
            {"learner": "protonet:distance=cosine"},
        ),
        ({"learner": "r2d2", "fixed_regularisation": True}, {"learner": "r2d2:fixed_regularisation=true"}),
        (
            {"learner": "maml++", "epochs": 9, "multi_step_epochs": 0},
            {"learner": "maml++:epochs=9,multi_step_epochs=0"},
        ),
        ({"objective": "l2", "objective_weight": 0.5}, {"learner": "maml:objective_weight=0.5", "objective": "l2"}),
        ({"learner": "imaml", "solver_iterations": 3}, {"learner": "imaml:solver_iterations=3"}),
        ({"learner": "maml:steps=3,scope=head,biases"}, {"learner": "maml", "steps": 3, "scope": "head,biases"}),
        ({"learner": "maml:steps=3", "steps": 3}, {"learner": "maml", "steps": 3}),
    ],
)
def test_options_as_settings_are_options_of_the_learner(older, now):
    assert validated(RunConfig, older) == validated(RunConfig, now)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"learner": "maml:steps=3", "steps": 2}, "steps = 2: learner = maml:steps=3 says 3; give one of them"),
        ({"learner": "protonet:distance=cosine", "distance": "euclidean"}, "give one of them"),
        ({"learner": "maml:steps=3,steps=3"}, "option 'steps' is given twice"),
        ({"learner": "maml:3"}, "expected name:option=value"),
        ({"learner": "maml:steps=few"}, "steps = few"),
    ],
)
def test_what_is_said_twice_or_not_at_all_is_refused(settings, says):
    with pytest.raises(metaft.MetaftError, match=says):
        validated(RunConfig, settings)


def test_the_command_line_names_every_method():
    said = RunConfig.model_fields["learner"].description
    assert all(name in said for name in META_TRAINED)
    assert set(COMPOSITIONS) <= set(META_TRAINED) <= set(LEARNERS)
    assert "rule" in options(COMPOSITIONS["anil"])


@pytest.mark.parametrize("name", COMPOSITIONS)
def test_methods_keep_to_their_own_names_and_learn_sinusoids_too(name):
    if name == "proto-maml":
        pytest.skip("prototypes are of classes")
    config = validated(RunConfig, {"learner": name, "dataset": "sinusoid", "hidden": 4, "engine": "eager"})
    learner = parts_of(config).learner
    assert learner.name == name
    assert learner.describe()["learner"] == name
    assert learner.meta_gradient(metaft.families.sinusoid(seed=0).batch(0, 2)).loss.isfinite()


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"learner": "protonet", "inner_lr": 1.0}, "learner 'protonet' has no option 'inner_lr'"),
        ({"learner": "maml", "context": 3}, "learner 'maml' has no option 'context'"),
        ({"learner": "mamll"}, "unknown learner 'mamll'; did you mean 'maml'"),
        ({"model": "conv5"}, "unknown model 'conv5'; did you mean 'conv4'"),
        (
            {"learner": "protonet:distence=cosine"},
            "learner 'protonet' has no option 'distence'; did you mean 'distance'",
        ),
        ({"learner": "protonet:distance=cosin"}, "did you mean 'cosine'"),
        ({"rule": "sdg"}, "unknown rule 'sdg'; did you mean 'sgd'"),
        ({"rule": "adam:beta=0.5"}, "rule 'adam' has no option 'beta'; did you mean 'beta"),
        ({"rule": "adam:lr=0.5"}, "rule 'adam' has no option 'lr'"),
        ({"estimator": "implicit:iterations=many"}, "iterations = many"),
        ({"objective": "l3"}, "unknown objective 'l3'"),
    ],
)
def test_what_no_method_can_use_is_refused_before_data_is_read(settings, says, monkeypatch):
    monkeypatch.setattr("metaft.assembly.meta_learner.build_family", lambda *_: pytest.fail("data was read"))
    with pytest.raises(metaft.MetaftError, match=says):
        parts_of(validated(RunConfig, settings))


@pytest.mark.parametrize("rule", ["meta-sgd", "lslr", "meta-curvature"])
@pytest.mark.parametrize("scope", [None, "head"])
def test_reptile_refuses_rules_that_it_cannot_train(rule, scope):
    parts = {"rule": rule, "inner_lr": 0.1, **({"scope": scope} if scope else {})}
    with pytest.raises(metaft.MetaftError, match="estimator 'reptile' cannot train learned rates"):
        build("reptile", MLP(2, 3), **parts)


@pytest.mark.parametrize("name", ["reptile", "imaml", "protonet"])
def test_there_is_no_adjoint_to_diagnose(name):
    with pytest.raises(metaft.MetaftError, match="diagnose logs the adjoint"):
        parts_of(validated(RunConfig, {"learner": name, "diagnose": True, "hidden": 4}))


def test_statistics_of_each_step_are_gathered_without_scale_and_shift_too():
    network = torch.nn.Sequential(torch.nn.Linear(2, 4), torch.nn.BatchNorm1d(4, affine=False), torch.nn.Linear(4, 2))
    learner = build("maml++", network, steps=2, inner_lr=0.1)
    labels = torch.arange(2).repeat(3, 2)
    batch = metaft.TaskBatch(torch.rand(3, 4, 2) + 5, labels, torch.rand(3, 4, 2) + 5, labels)
    gathered = learner.meta_gradient(batch).gathered
    assert set(gathered) == {"gathered:1.running_mean", "gathered:1.running_var", "gathered:updates"}
    before = learner.curve(batch)
    learner.params |= gathered
    assert not torch.allclose(learner.curve(batch), before), "queries are normalised by what was gathered"
