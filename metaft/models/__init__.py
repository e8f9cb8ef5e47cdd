"""Networks by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

import torch
from torch import nn

from metaft.errors import MetaftError
from metaft.models.backbones.source import source
from metaft.models.conv4 import Conv4
from metaft.models.examples import INPUT_SHAPE
from metaft.models.functional import Functional
from metaft.models.mlp import MLP
from metaft.models.pretrained import STORIES, folder_of
from metaft.models.resnet12 import ResNet12
from metaft.parts import Asked, convert
from metaft.plugins import call, foreign, image_network, is_import_path, load_attribute, named_part
from metaft.seeds import require_seed
from metaft.tables import BACKBONES, MODELS

__all__ = ["MLP", "MODELS", "Conv4", "Functional", "ResNet12", "build"]


MAX_WEIGHTS = 2**28
"""1 GiB of float32, and three times that with Adam's state."""


def build(name: str, *, outputs: int, input_shape: tuple[int, ...] = (), seed: int, **options: Any) -> nn.Module:
    """Make a network with freshly drawn weights.

    Args:
        name: "conv4", "mlp", "resnet12" or "transformer", with options as in "conv4:pool=max,hidden=32"; "hf:minilm"
            or "hf:FOLDER", a pretrained model of Hugging Face's; "stories260k", one of ours; "torchvision:resnet18" or
            "timm:NAME", a published network of images (see ``metaft.models.backbones``); or the import path of a
            module's class, or of a function that makes one, called with ``outputs``, ``input_shape`` and the options,
            which may stand behind the path as well.
        outputs: how many numbers it answers with.
        input_shape: shape of one example; a text's need not be said.
        seed: of the initial weights; torch's global random state is left as it was.
        options: the network's own (``hidden``, ``pool``, ``widths``).

    Returns:
        The module.

    Raises:
        MetaftError: if the name or an option is unknown, or the examples do not suit the network.
    """
    if others := foreign(name):
        return _foreign(others, outputs, input_shape, seed, options)
    if image_network(name):
        return _of_images(name, outputs, input_shape, seed, options)
    found = named_part(name, "model")
    if is_import_path(found.name):
        own = _own(found.name, seed, {"outputs": outputs, "input_shape": input_shape, **options}, found.options)
        if not hasattr(own, INPUT_SHAPE):  # its layers are told apart by what they do with an example
            setattr(own, INPUT_SHAPE, tuple(input_shape))
        return own
    kind: Any = MODELS[found.name]
    options = convert(f"model {found.name!r}", kind, {**options, **found.options}, MODELS.supplied)
    # First without memory: settings from a stranger's file may ask for any size.
    with torch.device("meta"):
        weights = sum(p.numel() for p in kind.fitting(outputs, input_shape, **options).parameters())
    if weights > MAX_WEIGHTS:
        asked = ", ".join(f"{option} = {value}" for option, value in options.items())
        raise MetaftError(f"model {name!r} with {asked} would have {weights:,} weights; at most {MAX_WEIGHTS:,}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(require_seed(seed))
        return cast(nn.Module, kind.fitting(outputs, input_shape, **options))


def require_known(name: str) -> None:
    """Refuse a name that is not in the table.

    Args:
        name: of the table `MODELS`, or an import path, which is not looked at.

    Raises:
        MetaftError: naming the nearest one.
    """
    if others := foreign(name):
        folder_of(others.name)
    elif image_network(name):
        source(name).require()
    elif not is_import_path(named_part(name, "model").name):
        MODELS.asked(name)


def _foreign(asked: Asked, outputs: int, input_shape: tuple[int, ...], seed: int, options: dict[str, Any]) -> nn.Module:
    """A pretrained model."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(require_seed(seed))
        if asked.name == STORIES:
            from metaft.models import stories

            return stories.load(outputs, **{**options, **asked.options})
        from metaft.models.hugging_face import HuggingFace

        return HuggingFace.fitting(outputs, input_shape, path=asked.name, **{**options, **asked.options})


def _of_images(
    name: str, outputs: int, input_shape: tuple[int, ...], seed: int, options: Mapping[str, Any]
) -> nn.Module:
    """A published network of images."""
    found = source(name)
    if options:
        found = replace(found, **convert(f"model {name!r}", type(found), options, BACKBONES.supplied))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(require_seed(seed))
        model = found.fitting(outputs, input_shape)
    setattr(model, INPUT_SHAPE, tuple(input_shape) or (3, model.preparation.size, model.preparation.size))
    return model


def _own(path: str, seed: int, arguments: dict[str, Any], options: Mapping[str, str]) -> nn.Module:
    """A network of the user's own."""
    make = load_attribute(path)
    if not callable(make):
        raise MetaftError(f"{path} is not a network's class, nor a function that makes one")
    arguments |= convert(f"model {path!r}", make, options, MODELS.supplied)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(require_seed(seed))
        model = call(path, make, arguments)
    if not isinstance(model, nn.Module):
        raise MetaftError(f"{path} made a {type(model).__name__}; expected a torch.nn.Module")
    return model
