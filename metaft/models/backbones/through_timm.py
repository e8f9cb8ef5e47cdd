"""Networks of timm's (PyTorch Image Models)."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from metaft.errors import MetaftError, first_line, nearest
from metaft.models.backbones.preparation import Preparation
from metaft.models.backbones.source import DEFAULT, NONE, Source

SECONDS = 10
"""After which the network counts as absent."""


@dataclass(frozen=True)
class Timm(Source):
    """A network of timm's, such as timm:resnet18 or timm:vit_small_patch16_224.augreg_in21k."""

    prefix: ClassVar[str] = "timm"

    def require(self) -> None:
        """Refuse a network that timm has not."""
        timm = _timm()
        name, _, tag = self.network.partition(".")
        if not timm.is_model(name):
            raise MetaftError(f"timm has no network {name!r}{nearest(name, timm.list_models())}")
        tags = [known.partition(".")[2] for known in timm.list_pretrained(f"{name}.*")]
        if tag and tag not in tags:
            raise MetaftError(f"timm:{name} has no weights {tag!r}{nearest(tag, tags) if tags else ', nor others'}")
        if self.weights not in (DEFAULT, NONE) and not self.on_disk:
            raise MetaftError(
                f"{self.whose} has no weights {self.weights!r}; expected {DEFAULT}, {NONE} or a file; others that timm "
                f"has stand behind the name, as in timm:{name}.{tags[0] if tags else 'TAG'}"
            )

    def make(self) -> nn.Module:
        """The network, for the classes that it was published with."""
        made: nn.Module = _timm().create_model(self.network)
        return made

    def classifier(self, made: nn.Module) -> str:
        """As timm names it."""
        told: Any = made.pretrained_cfg["classifier"]  # type: ignore[index]
        return str(told[0] if isinstance(told, tuple | list) else told)

    def wanted(self, made: nn.Module) -> Preparation:
        """As its settings for data say."""
        told = _timm().data.resolve_model_data_config(made)
        way = "bicubic" if told["interpolation"] == "bicubic" else "bilinear"
        return Preparation(int(told["input_size"][-1]), told["mean"], told["std"], way)  # type: ignore[arg-type]

    def published(self) -> dict[str, Tensor]:
        """From the cache of ``huggingface_hub``, or its hub."""
        with _no_waiting():
            made = _timm().create_model(self.network, pretrained=True)
        return dict(made.state_dict())


@contextmanager
def _no_waiting() -> Iterator[None]:
    """Where there is no network, the cache alone is asked: their hub would be tried for a minute."""
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    try:
        urllib.request.urlopen(urllib.request.Request(constants.ENDPOINT, method="HEAD"), timeout=SECONDS).close()
    except urllib.error.HTTPError:  # it answers
        pass
    except OSError:
        constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def _timm() -> Any:
    try:
        import timm
        import timm.data
    except ImportError as error:
        raise MetaftError(
            f"networks of timm need the extra timm: pip install 'metaft[timm]' ({first_line(error)})"
        ) from None
    return timm
