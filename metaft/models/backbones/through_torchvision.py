"""Networks of torchvision's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from metaft.errors import MetaftError, nearest
from metaft.models.backbones.preparation import Preparation
from metaft.models.backbones.source import DEFAULT, NONE, Source

AUXILIARY = ("aux1", "aux2", "AuxLogits")
"""Second classifiers that two of its networks have in training."""


@dataclass(frozen=True)
class Torchvision(Source):
    """A network of torchvision's, such as torchvision:resnet18."""

    prefix: ClassVar[str] = "torchvision"

    @property
    def unused(self) -> Sequence[str]:
        """Second classifiers."""
        return AUXILIARY

    def require(self) -> None:
        """Refuse a network that torchvision does not classify images by."""
        names = _models().list_models(module=_models())
        if self.network not in names:
            raise MetaftError(f"torchvision has no network {self.network!r} of images{nearest(self.network, names)}")

    def make(self) -> nn.Module:
        """The network, without second classifiers."""
        more: dict[str, Any] = {}
        if self.network in ("googlenet", "inception_v3"):
            more = {"aux_logits": False, "init_weights": False}
        made: nn.Module = _models().get_model(self.network, weights=None, **more)
        if hasattr(made, "transform_input"):
            made.transform_input = True  # type: ignore[assignment]  # as with published weights
        return made

    def classifier(self, made: nn.Module) -> str:
        """The last layer with a matrix."""
        return [name for name, part in made.named_modules() if isinstance(part, nn.Linear | nn.Conv2d)][-1]

    def wanted(self, made: nn.Module) -> Preparation:
        """As the transforms of its weights say."""
        told = self._entry().transforms()
        return Preparation(int(told.crop_size[0]), told.mean, told.std, _interpolation(told.interpolation.value))

    def published(self) -> dict[str, Tensor]:
        """From the cache of ``torch.hub``, or its address."""
        url = str(self._entry().url)
        return torch.hub.load_state_dict_from_url(url, progress=False, check_hash=True, weights_only=True)

    def _entry(self) -> Any:
        """Of torchvision's weights: those asked for; of a file's the default ones."""
        known = _models().get_model_weights(self.network)
        if self.weights in known.__members__:
            return known[self.weights]
        if self.weights != DEFAULT and not self.on_disk and self.weights != NONE:
            names = (DEFAULT, NONE, *known.__members__)
            raise MetaftError(
                f"{self.whose} has no weights {self.weights!r}{nearest(self.weights, names)}; or give a file"
            )
        return known.DEFAULT


def _interpolation(name: str) -> Any:
    return name if name == "bicubic" else "bilinear"


def _models() -> Any:
    from torchvision import models

    return models
