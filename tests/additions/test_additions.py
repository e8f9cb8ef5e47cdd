"""Every addition of the table: no effect at the start, names kept, and the meta-gradient that of plain autograd."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

import metaft
from metaft.additions import Addition, attach
from metaft.additions.context import Context
from metaft.errors import MetaftError
from metaft.inner.scope import select
from metaft.learners.maml import MAML
from metaft.models import MLP, Conv4
from metaft.tables import ADDITIONS
from metaft.tasks.batch import TaskBatch


class Transformer(nn.Module):
    """Words, attention, a head."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(11, 8)
        self.encoder = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        """The mean over places, to three classes."""
        return self.head(self.encoder(self.words(x)).mean(1))


MODELS: dict[str, tuple[Any, tuple[int, ...]]] = {
    "mlp": (lambda: MLP(4, 3, hidden=(5, 5), std=0.5), (4,)),
    "conv4": (lambda: Conv4(1, 16, 3, hidden=3), (1, 16, 16)),
    "layer": (lambda: nn.Linear(4, 3), (4,)),
    "transformer": (Transformer, (6,)),
}
EVERY = [(name, model) for name in ADDITIONS for model in MODELS]


def made(name: str, model: str) -> tuple[nn.Module, nn.Module, TaskBatch]:
    """The network, the network with the addition, some tasks."""
    build, shape = MODELS[model]
    torch.manual_seed(0)
    network = build().double().eval()
    for p in network.parameters():  # a head that begins at 0 would answer 0 whatever is added
        p.data += 0.3 * torch.randn(p.shape, dtype=p.dtype)
    draw = torch.Generator().manual_seed(1)

    def examples(count: int) -> Tensor:
        if model == "transformer":
            return torch.randint(11, (3, count, *shape), generator=draw)
        return torch.rand(3, count, *shape, generator=draw, dtype=torch.float64)

    labels = torch.arange(3).repeat(3, 2)
    batch = TaskBatch(examples(6), labels, examples(6), labels)
    return network, attach(network, ADDITIONS.make(name), seed=2), batch


def moved(network: nn.Module) -> nn.Module:
    """A copy whose added parameters are not at their start any more."""
    other, draw = copy.deepcopy(network), torch.Generator().manual_seed(3)
    for name, p in other.named_parameters():
        if name.split(".")[-2:-1] and name.split(".")[-2] in ADDITIONS:
            p.data += 0.1 * torch.randn(p.shape, generator=draw, dtype=p.dtype)
    return other


@pytest.mark.parametrize(("name", "model"), EVERY)
def test_it_has_no_effect_at_the_start_and_one_later(name: str, model: str) -> None:
    network, added, batch = made(name, model)
    x = batch.query_x[0]
    assert torch.equal(added(x), network(x))
    assert not torch.allclose(moved(added)(x), network(x))
    own = dict(network.named_parameters())
    new = set(dict(added.named_parameters())) - set(own)
    assert set(own) < set(dict(added.named_parameters()))
    assert all(n.split(".")[-2] == name and ":" not in n for n in new)
    again = attach(network, ADDITIONS.make(name), seed=2)
    assert all(torch.equal(p, dict(again.named_parameters())[n]) for n, p in added.named_parameters())
    for copied in (copy.deepcopy(moved(added)), pickle.loads(pickle.dumps(moved(added)))):
        assert torch.equal(copied(x), moved(added)(x))


@pytest.mark.parametrize("scope", ["addition", "all"])
@pytest.mark.parametrize(("name", "model"), EVERY)
def test_its_meta_gradient_is_that_of_plain_autograd(name: str, model: str, scope: str) -> None:
    _, added, batch = made(name, model)
    added = moved(added)
    learner = MAML(added, metaft.SGD(0.1), 2, scope=name if scope == "addition" else scope)
    out = learner.meta_gradient(batch)
    names = [n for n, _ in added.named_parameters()]
    assert set(learner.adapts) == set(select(names, name) if scope == "addition" else names)
    leaves = {n: p.detach().clone().requires_grad_() for n, p in added.named_parameters()}
    training = copy.deepcopy(added).train()  # batch norm by the batch
    total: Any = 0
    with sdpa_kernel(SDPBackend.MATH):  # the fused one has no second derivative
        for task in range(batch.tasks):
            params = dict(leaves)
            for _ in range(2):
                answer = functional_call(training, params, (batch.support_x[task],))
                loss = nn.functional.cross_entropy(answer, batch.support_y[task])
                grads = torch.autograd.grad(
                    loss, [params[n] for n in learner.adapts], create_graph=True, materialize_grads=True
                )
                params |= {n: params[n] - 0.1 * g for n, g in zip(learner.adapts, grads, strict=True)}
            answer = functional_call(training, params, (batch.query_x[task],))
            total = total + nn.functional.cross_entropy(answer, batch.query_y[task]) / batch.tasks
        plain = torch.autograd.grad(total, [leaves[n] for n in learner.trains], materialize_grads=True)
    for n, gradient in zip(learner.trains, plain, strict=True):
        torch.testing.assert_close(out.grads[n], gradient, rtol=1e-9, atol=1e-11)


def test_what_comes_before_a_layer_and_after_it() -> None:
    class Doubled(Addition):
        name = "doubled"

        def sites(self, model: nn.Module) -> tuple[str, ...]:
            return ("1",)

        def create(self, layer: nn.Module, draw: torch.Generator) -> dict[str, Tensor]:
            return {"scale": torch.ones(()), "shift": torch.zeros(())}

        def before(self, own: dict[str, Tensor], x: Tensor) -> Tensor:
            return own["scale"] * x

        def after(self, own: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
            return y + own["shift"] * x.sum()

    model = nn.Sequential(nn.Linear(2, 3), nn.Tanh())
    added, x = attach(model, Doubled()), torch.rand(4, 2)
    with torch.no_grad():
        added[1].doubled.scale.fill_(2.0)
        added[1].doubled.shift.fill_(3.0)
    h = 2 * model[0](x)
    torch.testing.assert_close(added(x), h.tanh() + 3 * h.sum())


def test_what_would_never_run_is_refused() -> None:
    class OnAttention(Context):
        def sites(self, model: nn.Module) -> tuple[str, ...]:
            return ("encoder.self_attn.out_proj",)

    with pytest.raises(MetaftError, match=r"nothing can be added to 'encoder.self_attn.out_proj'"):
        attach(Transformer(), OnAttention(3))


def test_a_scope_that_names_an_addition_that_is_not_there_is_an_error() -> None:
    with pytest.raises(MetaftError, match="scope 'context' matches no parameter"):
        MAML(MLP(2, 2), metaft.SGD(0.1), 1, scope="context")
