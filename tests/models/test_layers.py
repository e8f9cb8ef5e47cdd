import copy

import pytest
import torch
from torch import nn

from metaft.errors import MetaftError
from metaft.models import Conv4, Functional
from metaft.models.layers import LayerFeatures

X = torch.rand(6, 1, 28, 28, generator=torch.Generator().manual_seed(0))


def conv4(seed=0):
    torch.manual_seed(seed)
    model = Conv4(1, 28, 5, hidden=8)
    model.train()(X)  # running statistics that are not the initial ones
    return model


class Shared(nn.Module):
    """One layer in two places, one that never runs, activations in place, a tuple and a sequence."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.again = self.first
        self.unused = nn.Linear(4, 7)
        self.norm = nn.LayerNorm(4)
        self.act = nn.ReLU(inplace=True)
        self.attention = nn.MultiheadAttention(4, 1, batch_first=True)
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        x = self.act(self.norm(self.again(self.first(x))))
        sequence = torch.stack([x, 2 * x], dim=1)
        return self.head(self.attention(sequence, sequence, sequence)[0].sum(1))


def test_the_penultimate_layer_is_what_the_head_sees():
    model = conv4()
    expected = copy.deepcopy(model).eval().features(X)
    torch.testing.assert_close(LayerFeatures(model)(X), expected)
    # The last Linear that *runs*: later ones in the module's order may not run at all.
    shared = Shared()
    seen = LayerFeatures(shared)(torch.eye(4))
    torch.testing.assert_close(shared.head(seen), shared.eval()(torch.eye(4)))


def test_maps_are_averaged_over_space_and_layers_are_joined():
    model = conv4()
    parts = copy.deepcopy(model).eval().features
    first, second = (parts[:stop](X).mean((2, 3)) for stop in (1, 2))
    torch.testing.assert_close(LayerFeatures(model, "features.1")(X), second)
    torch.testing.assert_close(LayerFeatures(model, "features.0+features.1")(X), torch.cat([first, second], 1))
    torch.testing.assert_close(LayerFeatures(model, "features.0 + features.1", "average")(X), (first + second) / 2)
    torch.testing.assert_close(LayerFeatures(model, "raw+features.0")(X), torch.cat([X.flatten(1), first], 1))
    torch.testing.assert_close(LayerFeatures(None, "raw")(X), X.flatten(1))
    with pytest.raises(MetaftError, match=r"'features.0': 8, 'head': 5"):
        LayerFeatures(model, "features.0+head", "average")(X)


def test_shared_in_place_unused_and_tuple_layers():
    model, x = Shared(), torch.randn(3, 4)
    once = model.first(x)
    torch.testing.assert_close(LayerFeatures(model, "first")(x), model.first(once))
    torch.testing.assert_close(LayerFeatures(model, "again")(x), model.first(once))
    normed = model.norm(model.first(once))
    torch.testing.assert_close(LayerFeatures(model, "norm")(x), normed)
    held = normed.relu()
    sequence = torch.stack([held, 2 * held], dim=1)
    attended = model.attention(sequence, sequence, sequence)[0].mean(1)
    torch.testing.assert_close(LayerFeatures(model, "attention")(x), attended)
    with pytest.raises(MetaftError, match="'unused' does not run"):
        LayerFeatures(model, "unused")(x)


def test_no_hook_graph_or_change_is_left_behind():
    model = conv4()
    before = copy.deepcopy(model.state_dict())
    extractor = LayerFeatures(model, "penultimate+features.0.norm")
    extractor(X)
    for owner in (model, extractor):
        assert not any(part._forward_hooks or part._forward_pre_hooks for part in owner.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert model.training
    broken = LayerFeatures(model, "features.0")
    with pytest.raises(RuntimeError):
        broken(torch.rand(2, 3, 28, 28))  # the wrong number of channels
    assert not any(part._forward_hooks for part in broken.modules())


def test_features_are_a_pure_function_of_the_parameters():
    function = Functional(LayerFeatures(conv4()), "inductive")
    params = function.params()
    by_task = torch.func.vmap(lambda x: function(params, x))(X.view(2, 3, 1, 28, 28))
    torch.testing.assert_close(by_task[1], function(params, X[3:]))
    assert not torch.allclose(by_task[1], function(params, X)[3:])  # other statistics


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: LayerFeatures(conv4(), "features.9"),
            r"no layer 'features.9'; it has raw, penultimate, features, fea",
        ),
        (lambda: LayerFeatures(conv4(), "head", "mean"), "unknown way to combine layers 'mean'"),
        (lambda: LayerFeatures(None, "penultimate"), "give one, or ask for features 'raw'"),
        (lambda: LayerFeatures(nn.Sequential(nn.Flatten(), nn.ReLU())), "no head; or name one of 0, 1"),
        (lambda: LayerFeatures(nn.Sequential(nn.Flatten(0)), "0")(X), r"holds \[4704\] for 6 examples"),
    ],
)
def test_mistakes_are_named(make, message):
    with pytest.raises(MetaftError, match=message):
        make()
