"""Quantised weights: the numbers that they stand for, derivatives through them, and that nothing else holds them."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from scipy.stats import norm
from torch import Tensor, nn
from torch.func import grad, jvp, vmap

import metaft
from metaft.additions import attach, merged
from metaft.errors import MetaftError
from metaft.learners.class_means import ClassMeans
from metaft.learners.maml import MAML
from metaft.models import Functional
from metaft.models.anatomy import anatomy
from metaft.models.number_forms import NORMAL_QUANTILES, form_of
from metaft.models.quantised import quantise
from metaft.models.quantised_layers import Quantised, QuantisedEmbedding, QuantisedLinear, hold, packed_weights, widen
from tests.additions.test_additions import made, network_of

NETWORKS = ("mlp", "bert", "llama", "hf-bert", "hf-gpt2", "hf-llama")


@pytest.mark.parametrize("name", ["q4_0", "q4_1", "q8_0"])
def test_bytes_stand_for_the_numbers_that_gguf_reads_from_them(name: str) -> None:
    gguf = pytest.importorskip("gguf", reason="the package gguf is not installed")
    kind = gguf.GGMLQuantizationType[name.upper()]
    rows = torch.randn(5, 96, generator=torch.Generator().manual_seed(0))
    rows[1] = 0
    theirs = gguf.quantize(rows.numpy(), kind)
    packed = torch.from_numpy(theirs)
    assert torch.equal(form_of(name).unpack(packed, 96), torch.from_numpy(gguf.dequantize(theirs, kind)))
    if name == "q8_0":
        assert torch.equal(form_of(name).pack(rows), packed)


def test_nf4_is_the_nearest_quantile_of_a_normal_distribution() -> None:
    # Dettmers et al. 2023, appendix E, and their code: eight quantiles above 0, seven below, the largest being 1.
    most = 0.9677083
    above, below = (norm.ppf(torch.linspace(most, 0.5, n)[:-1].double().numpy()) for n in (9, 8))
    expected = sorted([*above / above[0], 0.0, *-below / below[0]])
    torch.testing.assert_close(torch.tensor(NORMAL_QUANTILES), torch.tensor(expected).float(), atol=1e-6, rtol=0)
    rows = torch.randn(3, 100, generator=torch.Generator().manual_seed(0))  # no multiple of 64
    rows[2, 64:] = 0
    found = form_of("nf4").unpack(form_of("nf4").pack(rows), 100)
    for row, own in zip(rows, found, strict=True):
        for block, numbers in zip(row.split(64), own.split(64), strict=True):
            table = torch.tensor(NORMAL_QUANTILES) * block.abs().max()
            nearest = table[(block[:, None] - table).abs().argmin(-1)]
            torch.testing.assert_close(numbers, nearest, rtol=1e-6, atol=0)
    assert form_of("nf4").pack(torch.zeros(2, 128)).shape == (2, 2 * 36)


@pytest.mark.parametrize("form", ["nf4", "q8_0"])
@pytest.mark.parametrize("model", NETWORKS)
def test_a_quantised_network_is_the_one_with_those_numbers(model: str, form: str) -> None:
    network, x = network_of(model), made("lora", model)[2].query_x[0]
    quantised = quantise(network, form)
    plain = widen(copy.deepcopy(quantised))
    assert any(isinstance(part, Quantised) for part in quantised.modules())
    assert list(plain.state_dict()) == list(network.state_dict())
    assert [type(part) for part in plain.modules()] == [type(part) for part in network.modules()]
    torch.testing.assert_close(quantised(x), plain(x), rtol=1e-12, atol=1e-12)
    error = (plain(x) - network(x)).abs().max()
    assert 0 < error < (1.5 if form == "nf4" else 0.1)
    assert anatomy(quantised).order == anatomy(plain).order
    assert anatomy(quantised).head == anatomy(plain).head
    assert {n.replace("packed", "weight"): r for n, r in anatomy(quantised).roles.items()} == anatomy(plain).roles


@pytest.mark.share(2)
@pytest.mark.parametrize("addition", ["lora", "ia3"])
@pytest.mark.parametrize("model", NETWORKS)
def test_an_addition_beside_it_learns_as_beside_those_numbers(model: str, addition: str) -> None:
    _, _, batch = made("lora", model)
    quantised = attach(quantise(network_of(model)), addition)
    draw = torch.Generator().manual_seed(0)
    for name, p in quantised.named_parameters():
        if f".{addition}." in name:
            p.data += 0.1 * torch.randn(p.shape, generator=draw, dtype=p.dtype)
    plain = widen(copy.deepcopy(quantised))
    ours, theirs = (MAML(n, metaft.SGD(0.1), 2, scope=addition).meta_gradient(batch) for n in (quantised, plain))
    packed = {name.replace("packed", "weight") for name in packed_weights(quantised)}
    assert set(ours.grads) == set(theirs.grads) - packed
    for name, gradient in ours.grads.items():
        torch.testing.assert_close(gradient, theirs.grads[name], rtol=1e-10, atol=1e-12)
    x = batch.query_x[0]
    torch.testing.assert_close(merged(quantised, addition)(x), quantised(x), rtol=1e-9, atol=1e-9)


def test_derivatives_of_any_order_pass_through_and_can_be_batched() -> None:
    layer: Any = quantise(nn.Sequential(nn.Linear(5, 4), nn.Linear(4, 2))).double()[0]
    plain: Any = widen(copy.deepcopy(layer))
    draw = torch.Generator().manual_seed(0)
    x, far = (torch.randn(3, 5, generator=draw, dtype=torch.float64) for _ in range(2))
    through = lambda x: layer(x).tanh().sum()
    torch.autograd.gradcheck(through, x.requires_grad_(), fast_mode=True)
    torch.autograd.gradgradcheck(through, x, fast_mode=True)
    x = x.detach()
    twice = lambda own: vmap(grad(lambda x: grad(lambda x: own(x).tanh().sum())(x).square().sum()))(x)
    torch.testing.assert_close(twice(layer), twice(plain))
    ahead = lambda own: jvp(lambda x: own(x).tanh(), (x,), (far,))
    torch.testing.assert_close(ahead(layer), ahead(plain))


def test_a_large_matrix_is_unpacked_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    layer: Any = quantise(nn.Sequential(nn.Embedding(11, 8), nn.Linear(8, 3)))[0]
    plain = widen(copy.deepcopy(layer)).weight
    monkeypatch.setattr("metaft.models.quantised_layers.PIECE", 24)
    x = torch.randn(4, 8, generator=torch.Generator().manual_seed(0)).requires_grad_()
    torch.testing.assert_close(layer.scores(x), x @ plain.T)
    (gradient,) = torch.autograd.grad(layer.scores(x).square().sum(), x)
    torch.testing.assert_close(gradient, 2 * x @ plain.T @ plain)


def test_no_unpacked_weight_is_kept_and_no_byte_copied() -> None:
    network = quantise(nn.Sequential(nn.Linear(32, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 2)))
    kept: list[Tensor] = []
    x = torch.randn(3, 32).requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        network(x)
    assert not any(t.is_floating_point() and t.shape in ((64, 32), (64, 64), (32, 64)) for t in kept)
    bytes_of = lambda model: {n: b.data_ptr() for n, b in packed_weights(model).items()}
    assert bytes_of(copy.deepcopy(network)) == bytes_of(network) == bytes_of(attach(network, "lora"))
    functional, seen = Functional(network), []
    functional.module[0].register_forward_pre_hook(lambda layer, _: seen.append(layer.packed.data_ptr()))
    functional = copy.copy(functional)
    functional._set_mode(False)  # takes the hook over
    functional(functional.params(), x)
    assert seen == [bytes_of(network)["0.packed"]]


def test_what_is_loaded_into_a_copy_leaves_the_original_alone() -> None:
    network, other = (quantise(nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))) for _ in range(2))
    before, mine = (copy.deepcopy(n.state_dict()) for n in (network, other))
    again = copy.deepcopy(network)
    again.load_state_dict(other.state_dict())
    assert all(torch.equal(value, mine[name]) for name, value in again.state_dict().items())
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert not torch.equal(mine["0.packed"], before["0.packed"])


def test_one_weight_of_two_layers_stays_one() -> None:
    network = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2))
    network[1].weight = network[0].weight
    quantised = quantise(network)
    assert quantised[0].packed is quantised[1].packed
    assert "1.weight" not in dict(widen(quantised).named_parameters())


def test_features_are_kept_apart_from_those_of_another_form() -> None:
    network = network_of("hf-bert").float()
    ids = torch.randint(1, 11, (1, 4, 6), generator=torch.Generator().manual_seed(0))
    learners = [ClassMeans(n) for n in (quantise(network, "nf4"), quantise(network, "q8_0"), network)]
    four, eight, whole = (learner.embedding.all(learner.params, ids) for learner in learners)
    assert not torch.allclose(four, eight)
    assert not torch.equal(eight, whole)


def test_what_cannot_be_quantised_is_refused() -> None:
    network = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    with pytest.raises(MetaftError, match=r"unknown form 'nf5' of quantised weights; did you mean 'nf4'"):
        quantise(network, "nf5")
    with pytest.raises(MetaftError, match="q4_1 is only read; quantise to nf4 or q8_0"):
        quantise(network, "q4_1")
    with pytest.raises(MetaftError, match="no linear layer or embedding to quantise but its head"):
        quantise(nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(2, 2)))
    with pytest.raises(MetaftError, match="the weight of a Conv2d cannot be quantised"):
        hold(nn.Conv2d(1, 2, 3), form_of("nf4"), torch.zeros(2, 9, dtype=torch.uint8))
    with pytest.raises(MetaftError, match="a weight of 4 × 3 in the form nf4 is 4 × 36 bytes, not 4 × 3"):
        hold(network[0], form_of("nf4"), torch.zeros(4, 3, dtype=torch.uint8))
    assert type(network[0]) is nn.Linear
    with pytest.raises(MetaftError, match="scope 'attention': those weights are quantised and do not move"):
        MAML(quantise(network_of("llama")), metaft.SGD(0.1), 1, scope="attention")


def test_which_layers_are_quantised() -> None:
    network = quantise(network_of("hf-llama"))
    assert type(network.model.embed_tokens) is QuantisedEmbedding
    assert type(network.model.layers[1].mlp.up_proj) is QuantisedLinear
    assert type(network.head) is nn.Linear
    assert not any(name.endswith("proj.weight") for name, _ in network.named_parameters())
