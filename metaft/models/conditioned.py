"""Any network with a context vector beside its input: a scale and shift of features, or further inputs."""

from __future__ import annotations

import copy
from itertools import pairwise

import torch
from torch import Tensor, nn

from metaft.errors import MetaftError

CONVOLUTION = 3
"""Which convolution is modulated, counted from 1, as in the authors' code; the last where there are fewer."""


class Conditioned(nn.Module):
    """A copy of a network whose answers depend on ``context`` too, one vector for all examples of a task.

    Zintgraf et al. 2019, §3.2 and their code. In a network with convolutions the third one's features h, after its
    batch norm if one follows, become γ h + β with (γ, β) = W φ + b (FiLM: Perez et al. 2018). In a network without, the
    context is concatenated to the input of the first Linear layer, so that Linear([x, φ]) = W x + b + W' φ.

    Deviations: FiLM starts at γ = 1, β = 0 where φ = 0, so that the network starts as it was given (their b is drawn
    around 0); and it comes before a pooling that follows, not after. W' is drawn like the Linear layer's own weights.

    Args:
        model: any module with a convolution or a Linear layer; it is copied.
        size: how many numbers the context has.

    Raises:
        MetaftError: if there is no such layer, or size < 1.
    """

    def __init__(self, model: nn.Module, size: int) -> None:
        super().__init__()
        if size < 1:
            raise MetaftError(f"a context has 1 or more numbers, not {size}")
        like = next(iter(model.parameters()), torch.empty(0))
        self.context = nn.Parameter(torch.zeros(size, dtype=like.dtype, device=like.device))
        self.network = copy.deepcopy(model)
        layers = dict(self.network.named_modules())
        convolutions = [name for name, layer in layers.items() if isinstance(layer, nn.modules.conv._ConvNd)]
        linear = next((name for name, layer in layers.items() if isinstance(layer, nn.Linear)), None)
        if convolutions:
            name = _normalised(self.network, convolutions[:CONVOLUTION][-1])
            filters = layers[convolutions[:CONVOLUTION][-1]].out_channels
            self._replace(name, Modulated(layers[name], self.context, int(filters)))
        elif linear is not None:
            self._replace(linear, Concatenated(layers[linear], self.context))
        else:
            raise MetaftError(
                f"{type(model).__name__} has neither a convolution nor a Linear layer to give a context to"
            )

    def _replace(self, name: str, layer: nn.Module) -> None:
        if not name:  # the network is that one layer
            self.network = layer
            return
        parent, _, last = name.rpartition(".")
        setattr(self.network.get_submodule(parent), last, layer)

    def forward(self, x: Tensor) -> Tensor:
        """As the network's."""
        return self.network(x)


class Modulated(nn.Module):
    """A layer whose output ``[examples, filters, …]`` is scaled and shifted by a linear map of the context."""

    def __init__(self, layer: nn.Module, context: nn.Parameter, filters: int) -> None:
        super().__init__()
        self.layer, self.context = layer, context
        self.film = nn.Linear(len(context), 2 * filters, dtype=context.dtype, device=context.device)
        nn.init.kaiming_uniform_(self.film.weight, nonlinearity="linear")
        with torch.no_grad():
            self.film.bias.copy_(torch.cat([torch.ones(filters), torch.zeros(filters)]))

    def forward(self, x: Tensor) -> Tensor:
        """γ h + β."""
        features = self.layer(x)
        scale, shift = self.film(self.context).reshape(2, -1, *(1,) * (features.dim() - 2))
        return scale * features + shift


class Concatenated(nn.Module):
    """A Linear layer that has the context for further inputs."""

    def __init__(self, layer: nn.Module, context: nn.Parameter) -> None:
        super().__init__()
        assert isinstance(layer, nn.Linear)
        self.layer, self.context = layer, context
        self.further = nn.Linear(
            len(context), layer.out_features, bias=False, dtype=context.dtype, device=context.device
        )
        nn.init.normal_(self.further.weight, std=float(layer.weight.detach().square().mean().sqrt()))

    def forward(self, x: Tensor) -> Tensor:
        """W x + b + W' φ."""
        return self.layer(x) + self.further(self.context)


def _normalised(network: nn.Module, name: str) -> str:
    """The batch norm that stands right behind a layer in the same module, or else the layer."""
    parent, _, last = name.rpartition(".")
    siblings = list(network.get_submodule(parent).named_children()) if name else []
    for (before, _layer), (after, layer) in pairwise(siblings):
        if before == last and isinstance(layer, nn.modules.batchnorm._BatchNorm):
            return f"{parent}.{after}" if parent else after
    return name
