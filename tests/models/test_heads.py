"""Heads: found by role, replaced without touching the rest, taken off."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from metaft.errors import MetaftError
from metaft.models import MLP, build
from metaft.models.heads import CosineHead, head_alone, head_name, with_new_head, without_head


def conv4(outputs=7):
    return build("conv4", outputs=outputs, input_shape=(1, 16, 16), seed=0, hidden=4)


@pytest.mark.parametrize(
    ("model", "name"),
    [
        (conv4(), "head"),
        (MLP(3, 2), "4"),
        (nn.Sequential(nn.Linear(3, 4), CosineHead(4, 2)), "1"),
        (nn.ModuleDict({"body": nn.Linear(3, 4), "head": nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))}), "head.1"),
    ],
)
def test_the_head_is_the_layer_that_answers(model, name):
    assert head_name(model) == name
    assert with_new_head(model, 9, seed=0).get_submodule(name).out_features == 9


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)), "'1', is BatchNorm1d, which only scales"),
        (nn.ReLU(), "ReLU has no parameters, so it has no head"),
    ],
)
def test_without_a_linear_head_it_says_so(model, said):
    with pytest.raises(MetaftError, match=said):
        with_new_head(model, 2, seed=0)


@pytest.mark.parametrize("start", ["zeros", "random"])
def test_only_the_head_is_new(start):
    model = conv4()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    new = with_new_head(model, 5, seed=3, start=start)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    changed = {
        n for n, value in new.state_dict().items() if value.shape != before[n].shape or (value != before[n]).any()
    }
    assert changed == {"head.weight", "head.bias"}
    assert bool(new.head.weight.any()) == (start == "random")
    assert torch.equal(new.head.weight, with_new_head(model, 5, seed=3, start=start).head.weight)
    if start == "random":
        assert not torch.equal(new.head.weight, with_new_head(model, 5, seed=4).head.weight)


def test_the_new_head_is_of_the_old_ones_kind_and_type():
    model = nn.Sequential(nn.Linear(3, 4), CosineHead(4, 6)).double()
    head = with_new_head(model, 2, seed=0, start="zeros")[1]
    assert isinstance(head, CosineHead)
    assert head.weight.dtype == torch.float64
    assert head.bias is None
    assert head.weight.any()  # zeros have no direction


def test_a_head_on_the_features_is_the_network():
    model, x = conv4().eval(), torch.rand(3, 1, 16, 16)
    features = without_head(model)(x)
    assert features.shape == (3, 4)
    torch.testing.assert_close(head_alone(model)(features), model(x))


def test_a_head_alone_keeps_its_name():
    model = nn.ModuleDict({"body": nn.Linear(3, 4), "top": nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))})
    assert [name for name, _ in head_alone(model).named_parameters()] == ["top.1.weight", "top.1.bias"]


def test_a_cosine_head_scores_by_direction():
    head, x = CosineHead(5, 3), torch.randn(4, 5)
    expected = torch.stack([10 * F.cosine_similarity(x, w.expand_as(x)) for w in head.weight], dim=1)
    torch.testing.assert_close(head(x), expected)
    torch.testing.assert_close(head(7 * x), head(x))


def test_an_unknown_start_names_the_nearest():
    with pytest.raises(MetaftError, match="'zero'; did you mean 'zeros'"):
        with_new_head(conv4(), 2, seed=0, start="zero")
