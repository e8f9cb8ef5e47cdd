"""Where a published network of images comes from: a library that makes it, and weights."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import safetensors.torch
from torch import Tensor, nn

from metaft.data.notes import say
from metaft.errors import MetaftError, first_line
from metaft.models.backbones.backbone import ImageBackbone
from metaft.models.backbones.preparation import Preparation
from metaft.models.backbones.weights import file_of, put_in, read_weights
from metaft.parts import convert
from metaft.plugins import image_network
from metaft.tables import BACKBONES

DEFAULT, NONE = "default", "none"
SIZES = range(8, 1025)


@dataclass(frozen=True)
class Source(ABC):
    """A published network that is named, not made yet.

    Args:
        network: its name in the library.
        weights: "default" for the published ones, from the library's cache or the network; the name of others that the
            library has; a file, or a folder with one, of safetensors or of torch; "none" for random ones.
        layer: whose answer the features are, averaged over positions; by default what the network's own classifier is
            given. A wrong name lists all.
        size: height and width that images are scaled to, in pixels; by default what the network was trained with.
    """

    prefix: ClassVar[str]
    network: str
    weights: str = DEFAULT
    layer: str | None = None
    size: int | None = None

    @property
    def whose(self) -> str:
        """What it is called in messages."""
        return f"{self.prefix}:{self.network}"

    @abstractmethod
    def require(self) -> None:
        """Refuse a network that the library has not.

        Raises:
            MetaftError: naming the nearest one, or if the library is not installed.
        """

    @abstractmethod
    def make(self) -> nn.Module:
        """The network as the library makes it, with random weights."""

    @abstractmethod
    def classifier(self, made: nn.Module) -> str:
        """The name of the layer that answers with classes."""

    @abstractmethod
    def wanted(self, made: nn.Module) -> Preparation:
        """What it wants of an image."""

    @abstractmethod
    def published(self) -> dict[str, Tensor]:
        """The weights that the library has, by name.

        Raises:
            MetaftError: if it has none of that name.
            Exception: if they are not here and cannot be fetched.
        """

    @property
    def unused(self) -> Sequence[str]:
        """Layers that weights may have and that are not made here."""
        return ()

    def fitting(self, outputs: int, input_shape: tuple[int, ...]) -> ImageBackbone:
        """The network with a new head.

        Args:
            outputs: how many numbers it answers with.
            input_shape: ``(channels, height, width)``; empty if nobody says it.

        Returns:
            The network, in evaluation mode.

        Raises:
            MetaftError: if there is no such network or layer, its weights are not to be had, or the examples are no
                images.
        """
        if input_shape and (len(input_shape) != 3 or input_shape[0] not in (1, 3)):
            raise MetaftError(
                f"model {self.whose!r} reads images of 1 or 3 channels, and these examples have shape "
                f"{list(input_shape)}; use a data set of images"
            )
        if self.size is not None and self.size not in SIZES:
            raise MetaftError(f"{self.whose}: size = {self.size}: should be from {SIZES[0]} to {SIZES[-1]} pixels")
        self.require()
        made = self.make()
        head, preparation = self.classifier(made), self.wanted(made)
        if self.weights == NONE:
            say(f"{self.whose} has random weights, as weights={NONE} asks for: a control that has learned nothing")
        else:
            put_in(made, self.state(), (head, *self.unused), self.whose)
        if self.size is not None:
            preparation.size = self.size
        return ImageBackbone(made, head, preparation, outputs, self.layer, self.whose).eval()

    def state(self) -> dict[str, Tensor]:
        """The weights, by the library's names.

        Raises:
            MetaftError: if they are not here and cannot be fetched, or cannot be read.
        """
        if self.on_disk:
            return read_weights(file_of(Path(self.weights), self.whose), self.whose)
        try:
            return self.published()
        except MetaftError:
            raise
        except Exception as error:
            raise MetaftError(
                f"{self.whose}: its weights are not on this machine and cannot be fetched ({first_line(error)}); give "
                f"them as weights=FILE, of safetensors or torch, or take weights={NONE}, random ones"
            ) from None

    @property
    def on_disk(self) -> bool:
        """Whether the weights are a file's."""
        return any(sign in self.weights for sign in "./\\") or Path(self.weights).exists()


def source(text: str) -> Source:
    """Read which published network is asked for.

    Args:
        text: ``torchvision:NAME`` or ``timm:NAME``, with options as in ``torchvision:resnet18:weights=FILE,size=64``.

    Returns:
        The source; nothing is made yet.

    Raises:
        MetaftError: if an option is unknown or malformed, or no network is named.
    """
    asked = image_network(text)
    assert asked is not None, text
    prefix, _, network = asked.name.partition(":")
    if not network:
        raise MetaftError(
            f"model {text!r}: which network of {prefix}? Expected {prefix}:NAME, such as {prefix}:resnet18"
        )
    kind: Any = BACKBONES[prefix]
    options: Mapping[str, Any] = convert(f"model {asked.name!r}", kind, asked.options, BACKBONES.supplied)
    found: Source = kind(network=network, **options)
    return found


def stored(text: str) -> bytes | None:
    """The weights of a published network as a file of safetensors, for who has to do without the library's.

    Args:
        text: as in `source`.

    Returns:
        The file's content; None for random weights.
    """
    found = source(text)
    if found.weights == NONE:
        return None
    return safetensors.torch.save({name: value.contiguous() for name, value in found.state().items()})


def with_weights(text: str, file: Path) -> str:
    """The same network with the weights of a file.

    Args:
        text: as in `source`.
        file: of safetensors.
    """
    asked = image_network(text)
    assert asked is not None, text
    options = {**asked.options, "weights": str(file)}
    return f"{asked.name}:{'+'.join(f'{name}={value}' for name, value in options.items())}"
