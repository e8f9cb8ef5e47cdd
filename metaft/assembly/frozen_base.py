"""Which frozen weights of a network can be read again from where they came from."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from metaft.learners.metric.episodic import NETWORK
from metaft.models.backbones.source import NONE
from metaft.plugins import foreign, image_network
from metaft.runs.frozen_base import FrozenBase, digest


def frozen_base(asked: str, model: nn.Module, params: Mapping[str, Tensor]) -> FrozenBase | None:
    """The weights that a run need not keep: those of a pretrained model that stay as they are.

    Networks that are drawn are kept: torch draws normal numbers otherwise on another kind of processor.

    Args:
        asked: the network's name in the settings.
        model: as it was built.
        params: the learner's, before training.

    Returns:
        The base; None where there is none, or it could not be built again anywhere.
    """
    others, of_images = foreign(asked), image_network(asked)
    if of_images is not None and of_images.options.get("weights") == NONE:
        return None
    if of_images is None and (others is None or others.options.get("weights", "pretrained") != "pretrained"):
        return None
    frozen = {name: p for name, p in model.named_parameters() if not p.requires_grad}
    own = {name: value for name, value in params.items() if _same(value, frozen.get(name.removeprefix(NETWORK)))}
    return FrozenBase(asked, tuple(sorted(own)), digest(own)) if own else None


def _same(value: Tensor, other: Tensor | None) -> bool:
    return other is not None and value.dtype == other.dtype and torch.equal(value, other)
