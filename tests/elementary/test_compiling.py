"""What the tracer of compiled code would not follow within the mode."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.func import grad, vmap

from metaft.elementary.mode import Elementary


def test_unflatten_can_be_compiled() -> None:
    def one(x: Tensor) -> Tensor:
        with Elementary():
            return nn.Unflatten(0, (2, 3))(x).tanh().sum() + x.unflatten(-1, (3, 2)).square().sum()

    torch.compiler.reset()
    x = torch.rand(4, 6, dtype=torch.float64)
    together = vmap(grad(one))
    torch.testing.assert_close(torch.compile(together, backend="eager", fullgraph=True)(x), together(x))
