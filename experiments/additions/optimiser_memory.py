"""What Adam keeps about each parameter, for each choice of what is trained."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from metaft.additions import attach, freeze_base
from metaft.inner.scope import select
from metaft.models.anatomy import anatomy

MOMENTS = 2
"""Of Adam, per parameter: running means of the gradient and of its square (Kingma & Ba 2015, alg. 1)."""
BYTES = 4
"""Of a number, float32."""


def of_adam(parameters: int) -> int:
    """Bytes of Adam's state.

    Args:
        parameters: how many numbers are trained.
    """
    return MOMENTS * BYTES * parameters


def measured(parameters: Iterable[Tensor]) -> int:
    """Bytes that ``torch.optim.Adam`` holds after a step, its counters of steps left out.

    Args:
        parameters: what it trains; copied.
    """
    own = [nn.Parameter(p.detach().clone()) for p in parameters]
    optimiser = torch.optim.Adam(own)
    for p in own:
        p.grad = torch.zeros_like(p)
    optimiser.step()
    kept = [value for state in optimiser.state.values() for name, value in state.items() if name != "step"]
    return sum(value.numel() * value.element_size() for value in kept)


def trained(model: nn.Module, scope: str | None = None, addition: str | None = None) -> dict[str, Tensor]:
    """What is trained of a network, its head left out: a scope of its own parameters, or all of an addition.

    Args:
        model: the network.
        scope: as of ``metaft.inner.scope.select``.
        addition: as ``--addition`` says it.

    Returns:
        Parameters by name.
    """
    if addition is not None:
        own = {name for name, _ in model.named_parameters()}
        model = freeze_base(attach(model, addition, seed=0))
        return {name: p for name, p in model.named_parameters() if name not in own}
    found = anatomy(model)
    params = dict(model.named_parameters())
    return {name: params[name] for name in select(params, scope or "all", found) if name not in found.head_names}
