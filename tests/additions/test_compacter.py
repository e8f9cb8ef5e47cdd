"""Compacters against adapters whose matrices are sums of Kronecker products, made as such."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from metaft.additions import attach
from metaft.additions.attach import placed
from metaft.errors import MetaftError
from metaft.models import MLP, Conv4
from tests.additions.learned import own_parameters
from tests.additions.test_additions import moved, network_of

SITES = {
    "houlsby": ["blocks.{}.attention.output", "blocks.{}.feed_forward.down"],
    "pfeiffer": ["blocks.{}.feed_forward.down"],
    "parallel": ["blocks.{}.feed_forward"],
}


@pytest.mark.parametrize("place", SITES)
def test_it_is_an_adapter_of_sums_of_kronecker_products(place: str) -> None:
    network = network_of("gpt")
    how = f"place={place},width=4,activation=tanh,scale=1.5"
    added = moved(attach(network, f"compacter:n=2,rank=3,{how}", seed=1))
    plain = attach(network, f"adapter:{how}")
    for site, own in own_parameters(added, "compacter").items():
        dense = plain.get_submodule(f"{site}.adapter")
        for part in ("down", "up"):
            products = [
                torch.kron(own["A"][i], own[f"{part}_left"][i] @ own[f"{part}_right"][i]) for i in range(len(own["A"]))
            ]
            getattr(dense, part).data = sum(products).T.contiguous()
            getattr(dense, f"{part}_bias").data = own[f"{part}_bias"]
    ids = torch.randint(1, 11, (4, 6), generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(added(ids), plain(ids), rtol=1e-10, atol=1e-10)
    assert not torch.allclose(added(ids), network(ids))


def test_behind_convolutions_it_mixes_channels() -> None:
    added = moved(attach(Conv4(1, 16, 3, hidden=4).double().eval(), "compacter:n=2", seed=1))
    own = own_parameters(added, "compacter")["features.3.relu"]
    dense = lambda part: sum(torch.kron(own["A"][i], own[f"{part}_left"][i] @ own[f"{part}_right"][i]) for i in (0, 1))
    y = torch.rand(2, 4, 3, 3, dtype=torch.float64)
    hidden = F.gelu(F.conv2d(y, dense("down").T[:, :, None, None], own["down_bias"]))
    expected = y + F.conv2d(hidden, dense("up").T[:, :, None, None], own["up_bias"])
    torch.testing.assert_close(added.get_submodule("features.3.relu")(y), expected, rtol=1e-10, atol=1e-10)


def test_one_parameter_stands_beside_all_layers() -> None:
    added = attach(network_of("hf-bert"), "compacter:n=2")
    found = placed(added, "compacter").values()
    assert len(found) == 4
    assert len({id(one.A) for one in found}) == 1
    assert sum(name.endswith("compacter.A") for name, _ in added.named_parameters()) == 1


def test_how_many_parameters_it_has() -> None:
    added = attach(MLP(3, 2, hidden=(64,)), "compacter:n=4,width=8,rank=2")
    own = sum(p.numel() for name, p in added.named_parameters() if ".compacter." in name)
    assert own == 4**3 + 2 * 2 * (64 + 8) + 64 + 8


def test_how_wide_the_bottleneck_is() -> None:
    width = lambda text: len(attach(MLP(2, 3, hidden=(64,)), text)[0].compacter.down_bias)
    assert [width(f"compacter{more}") for more in ("", ":reduction=2", ":n=1", ":reduction=6")] == [4, 32, 2, 12]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("width=6", "width = 6 must be a multiple of n = 4"),
        ("n=3", "'blocks.0.attention.output' has 8 numbers, which is no multiple of n = 3"),
        ("n=0", "n of compacter must be a whole number of at least 1"),
        ("rank=0", "the rank of compacter must be"),
        ("width=4,reduction=2", "say the same"),
    ],
)
def test_what_cannot_be_is_refused(options: str, said: str) -> None:
    with pytest.raises(MetaftError, match=said):
        attach(network_of("bert"), f"compacter:{options}")
