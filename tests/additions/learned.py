"""What an addition has learned, beside each layer."""

from __future__ import annotations

from torch import Tensor, nn

from metaft.additions.attach import placed


def own_parameters(model: nn.Module, name: str) -> dict[str, dict[str, Tensor]]:
    """Layer → parameters of an addition by name, detached."""
    return {site: {n: p.detach() for n, p in added.own().items()} for site, added in placed(model, name).items()}
