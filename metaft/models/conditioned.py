"""Any network with a context vector beside its input: a scale and shift of features, or further inputs."""

from __future__ import annotations

import copy
from itertools import pairwise

import torch
from torch import Tensor, nn

from metaft.errors import MetaftError
from metaft.seeds import require_seed
from metaft.validate import require_count

NAME = "context"
CONVOLUTION = 3
"""Which convolution is modulated, counted from 1, as in the authors' code; the last where there are fewer."""


def conditioned(model: nn.Module, size: int, seed: int = 0) -> nn.Module:
    """A copy of a network whose answers depend on a parameter ``context`` too, one vector for all examples of a task.

    Zintgraf et al. 2019, §3.2 and their code. In a network with convolutions the third one's features h, after its
    batch norm if one follows, become γ h + β with (γ, β) = W φ + b (FiLM: Perez et al. 2018). In a network without, the
    context is concatenated to the input of the first Linear layer, so that Linear([x, φ]) = W x + b + W' φ. All other
    parameters keep their names.

    Deviations: FiLM starts at γ = 1, β = 0 where φ = 0, so that the network starts as it was given (their b is drawn
    around 0); and it comes before a pooling that follows, not after. W' is drawn as torch draws a Linear layer of all
    those inputs, whatever W was drawn from.

    Args:
        model: any module with a convolution or a Linear layer.
        size: how many numbers the context has.
        seed: of the new weights W and W'; torch's global random state is left as it was.

    Returns:
        The module, its context at 0.

    Raises:
        MetaftError: if there is no such layer, the module has a ``context`` already, or size < 1.
    """
    require_count(size, "the size of a context", 1)
    if hasattr(model, NAME):
        raise MetaftError(f"{type(model).__name__} has something called {NAME!r} already; give that another name")
    network = copy.deepcopy(model)
    like = next(model.parameters(), torch.empty(0))
    context = nn.Parameter(torch.zeros(size, dtype=like.dtype, device=like.device))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(require_seed(seed))
        name, layer = _with_context(network, context)
    if not name:  # the network is that one layer
        return layer
    parent, _, last = name.rpartition(".")
    setattr(network.get_submodule(parent), last, layer)
    network.register_parameter(NAME, context)
    return network


def _with_context(network: nn.Module, context: nn.Parameter) -> tuple[str, nn.Module]:
    """The name of the layer that is to have the context, and what takes its place."""
    layers = dict(network.named_modules())
    convolutions = [name for name, layer in layers.items() if isinstance(layer, nn.modules.conv._ConvNd)]
    if convolutions:
        chosen = convolutions[:CONVOLUTION][-1]
        name = _normalised(network, chosen)
        return name, Modulated(layers[name], context, int(layers[chosen].out_channels))
    for name, layer in layers.items():
        if isinstance(layer, nn.Linear):
            return name, Concatenated(layer, context)
    raise MetaftError(f"{type(network).__name__} has neither a convolution nor a Linear layer to give a context to")


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

    def __init__(self, layer: nn.Linear, context: nn.Parameter) -> None:
        super().__init__()
        self.layer, self.context = layer, context
        self.further = nn.Linear(
            len(context), layer.out_features, bias=False, dtype=context.dtype, device=context.device
        )
        bound = (layer.in_features + len(context)) ** -0.5
        nn.init.uniform_(self.further.weight, -bound, bound)

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
