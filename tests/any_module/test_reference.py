"""The reference by plain autograd is right by itself: what it writes out is torch's, its gradient is a slope."""

from __future__ import annotations

import pytest
import torch

from tests.any_module import reference
from tests.any_module.case import DOUBLE, RATE
from tests.any_module.cases import CASES
from tests.any_module.comparisons import Ways
from tests.any_module.written import WRITTEN, WrittenOut

OF = {
    "F.hardsigmoid",
    "F.pdist",
    "F.multi_margin_loss",
    "F.multilabel_margin_loss",
    "torch.cdist",
    "EmbeddingBag",
    "parametrizations.weight_norm",
    "utils.weight_norm",
    "F.embedding_bag",
    "MultiMarginLoss",
    "MultiLabelMarginLoss",
    "Hardsigmoid",
}
LEFT_OUT = ("scaled by frequency", "max norm")
NAMES = [name for name, case in CASES.items() if case.of in OF and case.variant not in LEFT_OUT]


@pytest.mark.parametrize("name", NAMES)
def test_written_functions_are_those_of_torch(name):
    ways = Ways(CASES[name])
    loss = ways.case.plain_loss(ways.module)
    start = {n: p.clone().requires_grad_() for n, p in ways.params.items()}
    x, y = ways.batch.query_x[0], ways.batch.query_y[0]
    plain = loss(start, x, y)
    with WrittenOut():
        written = loss(start, x, y)
    torch.testing.assert_close(written, plain, rtol=1e-12, atol=1e-14)
    slopes = [[g.to_dense() for g in torch.autograd.grad(v, list(start.values()))] for v in (plain, written)]
    torch.testing.assert_close(slopes[1], slopes[0], rtol=1e-7, atol=1e-9)  # hardsigmoid's 1/6 is float32


def test_every_written_function_is_tried():
    names = {function.__name__.lstrip("_") for function in WRITTEN}
    tried = {name.rpartition(".")[2] for name in OF}
    assert {name for name in names if name not in tried} == set()


@pytest.mark.parametrize(
    "name", ["LayerNorm", "F.multi_margin_loss: p 2, weighed", "EmbeddingBag: mean, padding", "utils.weight_norm"]
)
def test_the_gradient_is_the_slope_of_the_loss(name):
    ways = Ways(CASES[name])
    loss = ways.case.plain_loss(ways.module, own_buffers=True)
    tasks = list(zip(*ways.batch.tensors(), strict=True))
    value = lambda params: reference.meta_gradient(loss, params, tasks, RATE, 2)[0]
    grads = reference.meta_gradient(loss, ways.params, tasks, RATE, 2)[1]
    g = torch.Generator().manual_seed(1)
    way = {n: torch.randn(p.shape, generator=g, dtype=DOUBLE) for n, p in ways.params.items()}
    up, down = (value({n: p + s * 1e-6 * way[n] for n, p in ways.params.items()}) for s in (1, -1))
    told = sum((grads[n] * way[n]).sum() for n in way)
    torch.testing.assert_close(told, (up - down) / 2e-6, rtol=1e-6, atol=1e-8)
