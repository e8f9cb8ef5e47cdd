"""The head of a network: found, replaced by one for other outputs, or taken off."""

from __future__ import annotations

import copy
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metaft.errors import MetaftError, nearest
from metaft.models.blocks import blocks
from metaft.seeds import require_seed

HeadStart = Literal["zeros", "random"]
SCALE = 10.0


class CosineHead(nn.Linear):
    """Scores are scaled cosines between features and one weight vector a class (Baseline++: Chen et al. 2019, §3.2).

    Deviation: that paper's code tunes the scale by data set and normalises by ``weight_norm``, whose lengths are
    learned too; here the scale is 10 and lengths count for nothing.

    Args:
        in_features: width of a feature vector.
        out_features: classes.
        bias: has no effect; it is there because a linear layer takes it.
    """

    def __init__(self, in_features: int, out_features: int, bias: bool = False) -> None:
        super().__init__(in_features, out_features, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Answer ``[examples, in_features]`` with ``[examples, out_features]``."""
        return SCALE * F.linear(F.normalize(x, dim=-1), F.normalize(self.weight, dim=-1))


def head_name(model: nn.Module) -> str:
    """The name of a network's head, the linear layer that is its last block.

    Args:
        model: the network.

    Returns:
        The submodule's name, ``"head"`` for Conv4.

    Raises:
        MetaftError: if the last block is not a linear layer.
    """
    order = blocks(name for name, _ in model.named_parameters())
    name = order[-1] if order else ""
    found = dict(model.named_modules()).get(name)
    if name and isinstance(found, nn.Linear):
        return name
    raise MetaftError(
        f"a new head replaces a linear layer, and the last block of this {type(model).__name__}, "
        f"{name or 'which has no parameters'!r}, is {type(found).__name__}"
    )


def with_new_head(model: nn.Module, outputs: int, seed: int, start: HeadStart = "random") -> nn.Module:
    """A copy of a network whose head answers with other outputs.

    Args:
        model: the network; left as it is.
        outputs: how many numbers the new head answers with.
        seed: of a random head; torch's global random state is left as it was.
        start: "random" (uniform in ±1/√features, torch's own) or "zeros" (every class starts equal; a cosine head
            has no direction there, so it is drawn at random all the same).

    Returns:
        The copy; only its head is new, of the same kind, type and device as the old one.

    Raises:
        MetaftError: if the network has no head to replace, or the start is unknown.
    """
    if start not in get_args(HeadStart):
        raise MetaftError(f"unknown start of a head {start!r}{nearest(start, get_args(HeadStart))}")
    name = head_name(model)
    renewed = copy.deepcopy(model)
    old = renewed.get_submodule(name)
    assert isinstance(old, nn.Linear)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(require_seed(seed))
        new = type(old)(old.in_features, outputs, bias=old.bias is not None)
    if start == "zeros" and not isinstance(old, CosineHead):
        for parameter in new.parameters():
            nn.init.zeros_(parameter)
    _put(renewed, name, new.to(old.weight))
    return renewed


def with_cosine_head(model: nn.Module, seed: int) -> nn.Module:
    """A copy of a network whose linear head scores by cosines instead.

    Args:
        model: the network; left as it is.
        seed: of the head's weights; torch's global random state is left as it was.

    Returns:
        The copy.

    Raises:
        MetaftError: if the network has no linear head.
    """
    name, changed = head_name(model), copy.deepcopy(model)
    old = changed.get_submodule(name)
    assert isinstance(old, nn.Linear)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(require_seed(seed))
        _put(changed, name, CosineHead(old.in_features, old.out_features).to(old.weight))
    return changed


def without_head(model: nn.Module) -> nn.Module:
    """A copy of a network that answers with the features its head would be given.

    Args:
        model: the network; left as it is.

    Returns:
        The copy, an identity in the head's place.

    Raises:
        MetaftError: if the network has no linear head.
    """
    bare = copy.deepcopy(model)
    _put(bare, head_name(model), nn.Identity())
    return bare


def head_alone(model: nn.Module) -> nn.Module:
    """A network that is the head and nothing else, its parameters named as in the whole.

    Args:
        model: the network; left as it is.

    Returns:
        A module from features to predictions.

    Raises:
        MetaftError: if the network has no linear head.
    """
    name = head_name(model)
    return _Alone(name, copy.deepcopy(model.get_submodule(name)))


class _Alone(nn.Module):
    def __init__(self, name: str, head: nn.Module) -> None:
        super().__init__()
        *parents, last = name.split(".")
        place: nn.Module = self
        for parent in parents:
            place.add_module(parent, nn.Module())
            place = place.get_submodule(parent)
        place.add_module(last, head)
        self._name = name

    def forward(self, x: Tensor) -> Tensor:
        return self.get_submodule(self._name)(x)


def _put(model: nn.Module, name: str, part: nn.Module) -> None:
    parent, _, last = name.rpartition(".")
    setattr(model.get_submodule(parent), last, part)
