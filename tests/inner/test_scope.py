"""Scopes choose what they say, and a scope that matches nothing is an error."""

import pytest
import torch

import metaft
from metaft.inner.scope import select, shortened
from metaft.models import build
from metaft.models.blocks import blocks

CONV4 = list(dict(build("conv4", outputs=5, input_shape=(1, 28, 28), seed=0).named_parameters()))
MLP = list(dict(build("mlp", outputs=1, input_shape=(1,), seed=0).named_parameters()))


def test_blocks_are_read_from_the_names():
    assert blocks(CONV4) == ["features.0", "features.1", "features.2", "features.3", "head"]
    assert blocks(MLP) == ["0", "2", "4"]


@pytest.mark.parametrize(
    ("names", "scope", "expected"),
    [
        (MLP, "all", MLP),
        (MLP, "head", ["4.weight", "4.bias"]),
        (MLP, "body", ["0.weight", "0.bias", "2.weight", "2.bias"]),
        (MLP, "biases", ["0.bias", "2.bias", "4.bias"]),
        (MLP, "last:2", ["2.weight", "2.bias", "4.weight", "4.bias"]),
        (MLP, "first:1,head", ["0.weight", "0.bias", "4.weight", "4.bias"]),
        (MLP, "all,!biases", ["0.weight", "2.weight", "4.weight"]),
        (MLP, "*.bias", ["0.bias", "2.bias", "4.bias"]),
        (MLP, "none", []),
        (CONV4, "features.?.norm.*,!features.0.*", [n for n in CONV4 if ".norm." in n and "features.0" not in n]),
        ([*MLP, "rule:0.weight"], "all", MLP),
        ([*MLP, "rule:0.weight"], "rates", ["rule:0.weight"]),
    ],
)
def test_a_scope_chooses_what_it_says(names, scope, expected):
    assert list(select(names, scope)) == expected


@pytest.mark.parametrize(
    ("scope", "says"),
    [
        ("hed", "did you mean 'head'"),
        ("features.7.*", "matches no parameter"),
        ("last:9", "5 blocks .features.0"),
        ("all,!classifier", "'classifier' matches no parameter"),
        ("rates", "matches no parameter"),
        ("", "matches no parameter"),
    ],
)
def test_a_scope_that_matches_nothing_is_an_error(scope, says):
    with pytest.raises(metaft.MetaftError, match=says):
        select(CONV4, scope)


@pytest.mark.parametrize("scope", ["head", "body", "biases", "first:1"])
def test_only_the_scope_moves_in_the_inner_loop(scope):
    torch.manual_seed(0)
    model = build("conv4", outputs=3, input_shape=(1, 16, 16), seed=0, hidden=4)
    learner = metaft.learners.MAML(model, metaft.SGD(0.5), 2, scope=scope)
    batch = metaft.TaskBatch(
        torch.rand(2, 3, 1, 16, 16),
        torch.arange(3).repeat(2, 1),
        torch.rand(2, 3, 1, 16, 16),
        torch.arange(3).repeat(2, 1),
    )
    assert not torch.equal(learner.curve(batch)[0], learner.curve(batch)[2])
    rows = {row[0]: row[2] for row in learner.scope_rows()}
    chosen = set(select(learner.params, scope))
    assert {name for name, adapts in rows.items() if adapts == "adapts"} == chosen
    # All but the scope could be replaced by anything after adapting, had it not been shared: it must be the start.
    assert set(learner._answering(2, batch).start(learner.params)) == chosen


@pytest.mark.parametrize(
    "make", [metaft.SGD, metaft.Momentum, metaft.Adam, metaft.MetaSGD, lambda lr: metaft.LSLR(lr, 2)]
)
@pytest.mark.parametrize("lr", [0, -0.1, float("nan"), float("inf"), "0.1", True])
def test_rules_refuse_a_rate_that_is_none(make, lr):
    with pytest.raises(metaft.MetaftError, match="inner rate"):
        make(lr)


def test_other_settings_of_rules_and_objectives_are_checked():
    for make in (
        lambda: metaft.Momentum(0.1, momentum=1.0),
        lambda: metaft.Adam(0.1, beta2=-0.1),
        lambda: metaft.Adam(0.1, eps_root=0.0),
        lambda: metaft.LSLR(0.1, 0),
        lambda: metaft.L2ToStart(0.0),
        lambda: metaft.KLToStart(float("nan"), lambda p, x: x),
    ):
        with pytest.raises(metaft.MetaftError):
            make()


def test_learned_rates_act_where_they_belong():
    """LSLR: one rate a step, the last beyond them; Meta-SGD: one rate an entry. The gradient is 1."""
    start, ones = {"w": torch.zeros(2)}, {"w": torch.ones(2)}
    rates = {"rule:w": torch.tensor([0.1, 0.02])}
    moved = [metaft.LSLR(1.0, 2).step(k, start, {}, ones, rates)[0]["w"][0].item() for k in range(4)]
    assert moved == pytest.approx([-0.1, -0.02, -0.02, -0.02])
    torch.testing.assert_close(metaft.MetaSGD(1.0).step(0, start, {}, ones, rates)[0]["w"], -rates["rule:w"])


def test_a_long_table_of_parameters_is_shortened() -> None:
    rows = [[f"blocks.{i}.query.{n}", "4×4", "–", "frozen"] for i in range(9) for n in ("weight", "bias")]
    rows += [[f"blocks.{i}.query.lora.{n}", "2×4", "adapts", "meta-trained"] for i in range(9) for n in "AB"]
    rows += [["head.weight", "5×4", "adapts", "from the support set"]]
    assert shortened(rows[:3]) == rows[:3]
    assert shortened(rows) == [
        ["blocks.*.query.lora.A ×9", "2×4", "adapts", "meta-trained"],
        ["blocks.*.query.lora.B ×9", "2×4", "adapts", "meta-trained"],
        rows[-1],
        ["18 others", "", "–", "frozen"],
    ]
