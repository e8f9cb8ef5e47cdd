"""The head of a network: found, replaced by one for other outputs, or taken off."""

from __future__ import annotations

import copy
from typing import Literal, get_args
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metaft.errors import MetaftError, nearest
from metaft.models.anatomy import Anatomy, anatomy
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
    """The name of a network's head, the linear layer that answers (see ``metaft.models.anatomy``).

    Args:
        model: the network.

    Returns:
        The submodule's name, ``"head"`` for Conv4; "" for a network that is one linear layer.

    Raises:
        MetaftError: if it is not clear which layer is the head, it is not a linear layer with weights of its own, or
            what follows it changes its answer, so that it cannot be replaced or taken off.
    """
    found = anatomy(model)
    name = found.require_head()
    head = model.get_submodule(name)
    if not isinstance(head, nn.Linear):
        raise MetaftError(
            f"a new head replaces a linear layer, and the head of this {type(model).__name__}, {name!r}, is "
            f"{type(head).__name__}"
        )
    if hasattr(head, "parametrizations"):
        raise MetaftError(
            f"a new head replaces a plain linear layer, and {name!r} is parametrised; make it plain first"
        )
    _ = found.head_names  # refused if tied
    if not _ends_in(model, name, found):
        raise MetaftError(
            f"a new head replaces the last thing that a network does, and in this {type(model).__name__} what follows "
            f"its head {name!r} changes the answer; leave that out (cross-entropy takes scores as they are)"
        )
    return name


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
        MetaftError: if the network has no head to replace, its answer is bound to the old one's outputs, or the start
            is unknown.
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
    renewed = _put(renewed, name, new.to(old.weight))
    _require_outputs(renewed, name, outputs, anatomy(model).example)
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
        return _put(changed, name, CosineHead(old.in_features, old.out_features).to(old.weight))


def without_head(model: nn.Module) -> nn.Module:
    """A copy of a network that answers with the features its head would be given.

    Args:
        model: the network; left as it is.

    Returns:
        The copy, an identity in the head's place.

    Raises:
        MetaftError: if the network has no linear head.
    """
    name = head_name(model)
    return _put(copy.deepcopy(model), name, nn.Identity())


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
    head = copy.deepcopy(model.get_submodule(name))
    return _Alone(name, head) if name else head


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


def _put(model: nn.Module, name: str, part: nn.Module) -> nn.Module:
    """Put a layer in another one's place, wherever that is registered; the network, or the layer if it is all of it."""
    old = model.get_submodule(name)
    if old is model:
        return part
    for owner in list(model.modules()):
        for place, layer in list(owner._modules.items()):
            if layer is old:
                setattr(owner, place, part)
    return model


_ENDS: WeakKeyDictionary[nn.Module, tuple[Anatomy, bool]] = WeakKeyDictionary()


def _ends_in(model: nn.Module, name: str, found: Anatomy) -> bool:
    """Whether the head, applied to what it is given, is the network's answer, whatever its weights are."""
    if found.example is None:  # a holder of layers, or a head that was told
        return True
    known = _ENDS.get(model)
    if known is None or known[0] is not found:
        known = _ENDS[model] = found, _is_last(model, name, found.example)
    return known[1]


@torch.no_grad()
def _is_last(model: nn.Module, name: str, x: Tensor) -> bool:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        whole = copy.deepcopy(model).eval()
        head = whole.get_submodule(name)
        for parameter in head.parameters():
            nn.init.normal_(parameter)
        expected = whole(x)
        try:
            given = head(_put(copy.deepcopy(whole), name, nn.Identity())(x))
        except Exception:
            return False
    return bool(given.shape == expected.shape and torch.allclose(given, expected, rtol=1e-3, atol=1e-4))


@torch.no_grad()
def _require_outputs(model: nn.Module, name: str, outputs: int, x: Tensor | None) -> None:
    """Refuse a network whose answer does not follow its head's outputs."""
    if x is None:
        return
    with torch.random.fork_rng(devices=[]):
        try:
            answer = copy.deepcopy(model).eval()(x)
        except Exception as error:
            raise MetaftError(
                f"with {outputs} outputs in its head {name!r} this {type(model).__name__} fails: "
                f"{type(error).__name__}: {error}"
            ) from error
    if answer.shape[-1] != outputs:
        raise MetaftError(
            f"with {outputs} outputs in its head {name!r} this {type(model).__name__} answers with "
            f"{list(answer.shape)} for {len(x)} examples"
        )
