"""The transformer against torch's own, padding that changes nothing, and its meta-gradient."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

import metaft
from metaft.errors import MetaftError
from metaft.learners.maml import MAML
from metaft.models import build
from metaft.models.anatomy import anatomy
from metaft.models.attention import rotation, turned
from metaft.models.transformer import SHAPES, Transformer
from metaft.tasks.batch import TaskBatch


def made(shape: str, **more: Any) -> Transformer:
    options = {"vocabulary": 30, "layers": 2, "width": 16, "heads": 4, "shape": shape} | more
    model = build("transformer", outputs=3, seed=0, **options)
    assert isinstance(model, Transformer)
    with torch.no_grad():  # so small at the start that little depends on anything
        for p in model.parameters():
            p += 0.3 * torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel()))
    return model.double().eval()


def texts(*shape: int) -> Tensor:
    """Texts of 1 to 7 words, padded."""
    draw = torch.Generator().manual_seed(1)
    ids = torch.randint(1, 30, (*shape, 7), generator=draw)
    length = torch.randint(1, 8, (*shape, 1), generator=draw)
    return ids.masked_fill(torch.arange(7) >= length, 0)


def tasks() -> TaskBatch:
    labels = torch.arange(3).repeat(3, 2)
    return TaskBatch(texts(3, 6), labels, texts(3, 6), labels)


@pytest.mark.parametrize("shape", SHAPES)
def test_padding_and_company_change_no_answer(shape: str) -> None:
    model, ids = made(shape), texts(5)
    together = model(ids)
    torch.testing.assert_close(model(nn.functional.pad(ids, (0, 6))), together, rtol=0, atol=1e-12)
    for i, row in enumerate(ids):
        torch.testing.assert_close(model(row[row != 0][None])[0], together[i], rtol=0, atol=1e-12)
    assert model(torch.zeros(1, 4, dtype=torch.int64)).isfinite().all()


@pytest.mark.parametrize("shape", ["gpt", "llama"])
def test_a_causal_place_sees_only_what_came_before(shape: str) -> None:
    model, ids = made(shape), torch.arange(1, 8)[None]
    states = model.states(ids)[-1]
    other = ids.clone()
    other[0, 4:] = 20
    torch.testing.assert_close(model.states(other)[-1][:, :4], states[:, :4])
    assert not torch.allclose(model.states(other)[-1][:, 4:], states[:, 4:])


@pytest.mark.parametrize(
    ("shape", "more", "first"),
    [
        ("bert", {}, False),
        ("gpt", {}, True),
        ("bert", {"norm_first": True, "causal": True}, True),
        ("gpt", {"norm_first": False, "causal": False}, False),
    ],
)
def test_it_is_torchs_encoder_with_the_same_weights(shape: str, more: dict[str, bool], first: bool) -> None:
    model, ids = made(shape, **more), torch.randint(1, 30, (4, 7), generator=torch.Generator().manual_seed(0))
    x = model.states(ids)[0]
    for block in model.blocks:
        layer = nn.TransformerEncoderLayer(16, 4, 64, 0.0, nn.functional.gelu, 1e-12 if shape == "bert" else 1e-5, True,
                                           first).double().eval()  # fmt: skip
        own, attention = block.attention, layer.self_attn
        with torch.no_grad():
            attention.in_proj_weight.copy_(torch.cat([own.query.weight, own.key.weight, own.value.weight]))
            attention.in_proj_bias.copy_(torch.cat([own.query.bias, own.key.bias, own.value.bias]))
            for theirs, ours in (
                (attention.out_proj, own.output), (layer.linear1, block.feed_forward.up),
                (layer.linear2, block.feed_forward.down), (layer.norm1, block.attention_norm),
                (layer.norm2, block.feed_forward_norm),
            ):  # fmt: skip
                theirs.weight.copy_(ours.weight)
                theirs.bias.copy_(ours.bias)
        mask = nn.Transformer.generate_square_subsequent_mask(7).double() if model.causal else None
        x = layer(x, src_mask=mask)
    assert model.causal == more.get("causal", shape == "gpt")
    torch.testing.assert_close(model.states(ids)[-1], model.norm(x))


@pytest.mark.parametrize("shape", SHAPES)
def test_places_are_turned_or_learned_whatever_the_shape(shape: str) -> None:
    ids = torch.randint(1, 30, (2, 7), generator=torch.Generator().manual_seed(0))
    turned_places = made(shape, rotary=True, causal=True)
    assert turned_places.embedding.places is None
    # What comes before pushes all words on by as many places: of turned ones only distances count.
    ahead = nn.functional.pad(ids, (3, 0))
    torch.testing.assert_close(turned_places.states(ahead)[-1][:, 3:], turned_places.states(ids)[-1])
    learned = made(shape, rotary=False, causal=True)
    assert learned.embedding.places is not None
    assert not torch.allclose(learned.states(ahead)[-1][:, 3:], learned.states(ids)[-1])


def test_rotary_scores_depend_on_distance_alone() -> None:
    query, key = torch.randn(2, 8).double()
    turn = rotation(torch.arange(20), 8, query)
    at = lambda x, place: turned(x[None], (turn[0][place : place + 1], turn[1][place : place + 1]))[0]
    torch.testing.assert_close(at(query, 3) @ at(key, 7), at(query, 12) @ at(key, 16))
    torch.testing.assert_close(at(query, 0), query)


@pytest.mark.parametrize("shape", SHAPES)
def test_its_meta_gradient_is_that_of_plain_autograd(shape: str) -> None:
    model, batch = made(shape, key_heads=2), tasks()
    out = MAML(model, metaft.SGD(0.1), 2).meta_gradient(batch)
    leaves = {n: p.detach().clone().requires_grad_() for n, p in model.named_parameters()}
    total: Any = 0
    for task in range(batch.tasks):
        params = dict(leaves)
        for _ in range(2):
            loss = nn.functional.cross_entropy(
                functional_call(model, params, batch.support_x[task]), batch.support_y[task]
            )
            grads = torch.autograd.grad(loss, list(params.values()), create_graph=True)
            params = {n: p - 0.1 * g for (n, p), g in zip(params.items(), grads, strict=True)}
        answer = functional_call(model, params, batch.query_x[task])
        total = total + nn.functional.cross_entropy(answer, batch.query_y[task]) / batch.tasks
    plain = torch.autograd.grad(total, list(leaves.values()))
    whole = torch.cat([g.flatten() for g in plain])
    ours = torch.cat([out.grads[n].flatten() for n in leaves])
    assert float((ours - whole).norm() / whole.norm()) < 1e-12


def test_a_text_longer_than_the_places_is_one_line() -> None:
    with pytest.raises(MetaftError, match="a text of 7 words, and this transformer has 5 places"):
        made("bert", places=5)(texts(2))
    assert made("llama", places=5)(texts(2)).shape == (2, 3)


@pytest.mark.parametrize("shape", SHAPES)
def test_its_head_is_known(shape: str) -> None:
    assert anatomy(made(shape)).head == "head"
    assert MAML(made(shape), metaft.SGD(0.1), 1, scope="head").adapts == ("head.weight", "head.bias")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"heads": 3}, "width 256 must be a multiple of heads 3"),
        ({"shape": "bart"}, "shape = bart: should be 'bert', 'gpt' or 'llama'"),
        ({"layers": 0}, "layers must be a whole number of at least 1"),
        ({"shape": "llama", "width": 12, "heads": 4}, "a head of width 3 is odd"),
        ({"depth": 3}, "has no option 'depth'"),
        ({"input_shape": (1, 28, 28)}, "a transformer reads texts"),
    ],
)
def test_what_does_not_fit_is_one_line(options: dict[str, Any], said: str) -> None:
    with pytest.raises(MetaftError, match=said):
        build("transformer", outputs=3, seed=0, **options)
