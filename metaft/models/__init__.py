"""Networks by name."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from metaft.errors import MetaftError, nearest
from metaft.models.conv4 import Conv4
from metaft.models.examples import INPUT_SHAPE
from metaft.models.functional import Functional
from metaft.models.mlp import MLP
from metaft.models.resnet12 import ResNet12
from metaft.plugins import call, is_import_path, load_attribute
from metaft.seeds import require_seed

__all__ = ["MLP", "MODELS", "Conv4", "Functional", "ResNet12", "build"]


def _conv4(outputs: int, input_shape: tuple[int, ...], **options: Any) -> nn.Module:
    return Conv4(*_square("conv4", input_shape), outputs, **options)


def _resnet12(outputs: int, input_shape: tuple[int, ...], **options: Any) -> nn.Module:
    return ResNet12(*_square("resnet12", input_shape), outputs, **options)


def _square(name: str, input_shape: tuple[int, ...]) -> tuple[int, int]:
    if len(input_shape) != 3 or input_shape[1] != input_shape[2]:
        raise MetaftError(f"{name} needs square images [channels, size, size], not inputs of shape {input_shape}")
    return input_shape[0], input_shape[1]


def _mlp(outputs: int, input_shape: tuple[int, ...], **options: Any) -> nn.Module:
    width = 1
    for axis in input_shape:
        width *= axis
    return MLP(width, outputs, **options)


MAX_WEIGHTS = 2**28
"""1 GiB of float32, and three times that with Adam's state."""

# name → (builder, the class whose signature lists the options)
MODELS: dict[str, tuple[Callable[..., nn.Module], type[nn.Module]]] = {
    "conv4": (_conv4, Conv4),
    "mlp": (_mlp, MLP),
    "resnet12": (_resnet12, ResNet12),
}


def build(name: str, *, outputs: int, input_shape: tuple[int, ...], seed: int, **options: Any) -> nn.Module:
    """Make a network with freshly drawn weights.

    Args:
        name: "conv4", "mlp" or "resnet12"; or the import path of a module's class, or of a function that makes one,
            called with ``outputs``, ``input_shape`` and the options.
        outputs: how many numbers it answers with.
        input_shape: shape of one example.
        seed: of the initial weights; torch's global random state is left as it was.
        options: the network's own (``hidden``, ``pool``, ``widths``).

    Returns:
        The module.

    Raises:
        MetaftError: if the name or an option is unknown, or the examples do not suit the network.
    """
    if is_import_path(name):
        own = _own(name, seed, {"outputs": outputs, "input_shape": input_shape, **options})
        if not hasattr(own, INPUT_SHAPE):  # its layers are told apart by what they do with an example
            setattr(own, INPUT_SHAPE, tuple(input_shape))
        return own
    require_known(name)
    make, kind = MODELS[name]
    known = set(inspect.signature(kind).parameters) - {"inputs", "outputs", "channels", "size"}
    for option in options:
        if option not in known:
            raise MetaftError(f"model {name!r} has no option {option!r}{nearest(option, known)}")
    # First without memory: settings from a stranger's file may ask for any size.
    with torch.device("meta"):
        weights = sum(p.numel() for p in make(outputs, input_shape, **options).parameters())
    if weights > MAX_WEIGHTS:
        asked = ", ".join(f"{option} = {value}" for option, value in options.items())
        raise MetaftError(f"model {name!r} with {asked} would have {weights:,} weights; at most {MAX_WEIGHTS:,}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(require_seed(seed))
        return make(outputs, input_shape, **options)


def require_known(name: str) -> None:
    """Refuse a name that is not in the table.

    Args:
        name: of the table `MODELS`, or an import path, which is not looked at.

    Raises:
        MetaftError: naming the nearest one.
    """
    if not is_import_path(name) and name not in MODELS:
        raise MetaftError(f"unknown model {name!r}{nearest(name, MODELS)}")


def _own(path: str, seed: int, arguments: dict[str, Any]) -> nn.Module:
    """A network of the user's own."""
    make = load_attribute(path)
    if not callable(make):
        raise MetaftError(f"{path} is not a network's class, nor a function that makes one")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(require_seed(seed))
        model = call(path, make, arguments)
    if not isinstance(model, nn.Module):
        raise MetaftError(f"{path} made a {type(model).__name__}; expected a torch.nn.Module")
    return model
