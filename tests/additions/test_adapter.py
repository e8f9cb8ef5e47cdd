"""Adapters against networks in which they are written out, by hand, where papers put them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metaft.additions import attach
from metaft.errors import MetaftError
from metaft.models import MLP, Conv4, ResNet12
from tests.additions.learned import own_parameters
from tests.additions.test_additions import moved, network_of

Function = Callable[[Tensor], Tensor]
SILU = "adapter:width=3,activation=silu,scale=1.5"

PARTS = {  # of a block: attention, its last layer; feed-forward, its last layer
    "bert": ("blocks.{}.attention.output", "blocks.{}.feed_forward", "blocks.{}.feed_forward.down"),
    "llama": ("blocks.{}.attention.output", "blocks.{}.feed_forward", "blocks.{}.feed_forward.down"),
    "hf-bert": ("model.encoder.layer.{}.attention.output.dense", "model.encoder.layer.{}.output",
                "model.encoder.layer.{}.output.dense"),
    "hf-gpt2": ("model.h.{}.attn.c_proj", "model.h.{}.mlp", "model.h.{}.mlp.c_proj"),
    "hf-llama": ("model.layers.{}.self_attn.o_proj", "model.layers.{}.mlp", "model.layers.{}.mlp.down_proj"),
}  # fmt: skip


class Written(nn.Module):
    """A function in the place of a layer."""

    def __init__(self, function: Callable[..., Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *given: Any) -> Tensor:
        return self.function(*given)


def bottleneck(own: dict[str, Tensor]) -> Function:
    hidden = lambda x: F.silu(x @ own["down"].T + own["down_bias"])
    return lambda x: 1.5 * (hidden(x) @ own["up"].T + own["up_bias"])


@pytest.mark.parametrize("place", ["houlsby", "pfeiffer", "parallel"])
@pytest.mark.parametrize("model", PARTS)
def test_it_is_what_is_written_out_by_hand(model: str, place: str) -> None:
    plain = network_of(model)
    added = moved(attach(plain, f"{SILU},place={place}", seed=1))
    found = own_parameters(added, "adapter")
    ids = torch.randint(1, 11, (4, 6), generator=torch.Generator().manual_seed(1))
    before = plain(ids)
    for block in range(2):
        attention, whole, down = (name.format(block) for name in PARTS[model])
        sites = {"houlsby": (attention, down), "pfeiffer": (down,), "parallel": (whole,)}[place]
        for site in sites:
            layer, f = plain.get_submodule(site), bottleneck(found.pop(site))
            if place != "parallel":
                written: Any = lambda x, layer=layer, f=f: layer(x) + f(layer(x))
            elif model == "hf-bert":
                written = lambda h, x, layer=layer, f=f: layer.LayerNorm(layer.dense(h) + f(x) + x)
            else:
                written = lambda x, layer=layer, f=f: layer(x) + f(x)
            plain.set_submodule(site, Written(written))
    assert not found
    assert not torch.allclose(plain(ids), before)
    torch.testing.assert_close(added(ids), plain(ids), rtol=1e-10, atol=1e-10)


def test_behind_convolutions_it_is_a_convolution() -> None:
    plain = Conv4(1, 16, 3, hidden=6).double().eval()
    added = moved(attach(plain, SILU, seed=1))
    x = torch.rand(2, 1, 16, 16, dtype=torch.float64)
    y = x
    for block in range(4):
        y = plain.features[block](y)
        own = added.get_submodule(f"features.{block}.relu.adapter")
        hidden = F.silu(F.conv2d(y, own.down[:, :, None, None], own.down_bias))
        y = y + 1.5 * F.conv2d(hidden, own.up[:, :, None, None], own.up_bias)
    torch.testing.assert_close(added(x), plain.head(y.mean((-2, -1))), rtol=1e-10, atol=1e-10)


def test_behind_which_blocks_it_stands() -> None:
    sites = lambda model: list(own_parameters(attach(model, "adapter"), "adapter"))
    assert sites(MLP(2, 3, hidden=(4, 5))) == ["0", "2"]
    assert sites(ResNet12(1, 16, 3, hidden=4)) == [f"features.{block}" for block in range(4)]


def test_how_wide_the_bottleneck_is() -> None:
    width = lambda text: attach(MLP(2, 3, hidden=(64,)), text)[0].adapter.down.shape[0]
    assert [width(f"adapter{more}") for more in ("", ":reduction=4", ":width=5", ":reduction=100")] == [4, 16, 5, 1]


@pytest.mark.parametrize(
    ("options", "model", "said"),
    [
        ("place=parallel", "torch", "take place=houlsby or place=pfeiffer"),
        ("place=parallel", "conv4", "speaks of a transformer's blocks"),
        ("width=2,reduction=2", "bert", "say the same"),
        ("width=0", "bert", "the width of adapter must be a whole number of at least 1"),
        ("scale=0", "bert", "the scale of adapter must be a positive"),
        ("place=pfeifer", "bert", "place = pfeifer: should be 'houlsby', 'pfeiffer'"),
        ("activation=gellu", "bert", "has no activation 'gellu'.*gelu"),
        ("place=houlsby", "layer", "speaks of a transformer's blocks"),
    ],
)
def test_what_cannot_be_is_refused(options: str, model: str, said: str) -> None:
    with pytest.raises(MetaftError, match=said):
        attach(network_of(model), f"adapter:{options}")


def test_feed_forward_whose_residual_is_normed_otherwise_is_refused() -> None:
    network = network_of("hf-bert")
    for block in range(2):
        layer = network.model.encoder.layer[block].output
        layer.forward = lambda h, x, layer=layer: layer.LayerNorm(layer.dense(h) + 2 * x)
    with pytest.raises(MetaftError, match="place = parallel needs one layer"):
        attach(network, "adapter:place=parallel")
