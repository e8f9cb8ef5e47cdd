"""A context beside the input: against a real concatenation, and a modulation written out."""

import pytest
import torch
from torch import nn

from metaft.additions import attach
from metaft.additions.context import Context
from metaft.errors import MetaftError
from metaft.models import MLP, Conv4, ResNet12


def conditioned(model, size, seed=0):
    return attach(model, Context(size), seed)


def given(network, value):
    with torch.no_grad():
        dict(network.named_parameters())[vectors(network)[0]].copy_(value)
    return network


def vectors(network):
    return [name for name, _ in network.named_parameters() if name.endswith("context.vector")]


def test_a_linear_layer_takes_the_context_for_further_inputs():
    torch.manual_seed(0)
    model = MLP(3, 2, hidden=(4,), std=0.5)
    network = conditioned(model, 5)
    context, x = torch.randn(5), torch.randn(7, 3)
    wide = nn.Linear(8, 4)
    with torch.no_grad():
        wide.weight.copy_(torch.cat([model[0].weight, network[0].context.weight], dim=1))
        wide.bias.copy_(model[0].bias)
    both = torch.cat([x, context.expand(7, -1)], dim=1)
    torch.testing.assert_close(given(network, context)(x), model[2](wide(both).relu()))
    assert not torch.allclose(given(network, -context)(x), given(network, context)(x))


@pytest.mark.parametrize("pool", ["stride", "max"])
def test_the_third_convolution_is_scaled_and_shifted(pool):
    torch.manual_seed(0)
    model = Conv4(1, 16, 3, hidden=4, pool=pool).eval()
    network = conditioned(model, 6).eval()
    context, x = torch.randn(6), torch.rand(5, 1, 16, 16)
    film = network.features[2].norm.context
    scale, shift = (film.weight @ context + film.bias).split(4)
    h = model.features[1](model.features[0](x))
    third = model.features[2]
    h = third.norm(third.conv(h)) * scale.view(-1, 1, 1) + shift.view(-1, 1, 1)
    h = h.relu()
    h = third.pool(h) if pool == "max" else h
    for layer in model.features[3:]:
        h = layer(h)
    torch.testing.assert_close(given(network, context)(x), model.head(h))


@pytest.mark.parametrize("model", [MLP(9, 2), Conv4(1, 16, 3, hidden=4), ResNet12(1, 16, 3, hidden=2), nn.Linear(4, 2)])
def test_it_begins_as_it_was_and_leaves_the_model_alone(model):
    model.eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    shape = {MLP: (9,), nn.Linear: (4,)}.get(type(model), (1, 16, 16))
    x = torch.rand(2, *shape)
    random = torch.random.get_rng_state()
    network = conditioned(model, 3, seed=1).eval()
    assert torch.equal(torch.random.get_rng_state(), random)
    torch.testing.assert_close(network(x), model(x))
    assert model.state_dict().keys() == before.keys()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert len(vectors(network)) == 1
    again = conditioned(model, 3, seed=1).state_dict()
    assert all(torch.equal(value, again[name]) for name, value in network.state_dict().items())
    others = conditioned(model, 3, seed=2).state_dict()
    assert not all(torch.equal(value, others[name]) for name, value in network.state_dict().items())


def test_what_cannot_have_a_context_is_refused():
    with pytest.raises(MetaftError, match="neither a convolution nor a Linear"):
        conditioned(nn.Sequential(nn.LayerNorm(3)), 2)
    with pytest.raises(MetaftError, match="whole number of at least 1, not 0"):
        conditioned(MLP(1, 1), 0)
    with pytest.raises(MetaftError, match="layer '0' has something called 'context' already"):
        conditioned(conditioned(MLP(1, 1), 2), 2)
