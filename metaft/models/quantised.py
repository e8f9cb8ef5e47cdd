"""A network whose matrices lie in memory at 4 or 8 bits (QLoRA: Dettmers et al. 2023)."""

from __future__ import annotations

import copy
from typing import Any

from torch import Tensor, nn

from metaft.errors import MetaftError
from metaft.models.anatomy import COMPOSITE, anatomy
from metaft.models.number_forms import form_of
from metaft.models.quantised_layers import becomes, hold, transposed_kind


def quantise(model: nn.Module, form: str = "nf4") -> nn.Module:
    """A copy of a network whose matrices lie in memory at 4 or 8 bits: all linear layers and embeddings but the head.

    Biases, norms, and layers of other kinds stay as they are, and so does all that additions have put in.

    Args:
        model: the network.
        form: "nf4" (Dettmers et al. 2023) or "q8_0".

    Returns:
        The copy; its quantised weights are no parameters any more.

    Raises:
        MetaftError: if the form is unknown or only read, it is not clear which layer is the head, or there is no other
            to quantise.
    """
    form_of(form)
    head = anatomy(model).require_head()
    weights: list[Any] = [model.get_submodule(name).weight for name in quantisable(model) if name != head]
    return pack_layers(copy.deepcopy(model, {id(weight): weight for weight in weights}), form, head)


def pack_layers(model: nn.Module, form: str, head: str) -> nn.Module:
    """Quantise a network in place, layer by layer.

    Args:
        model: the network.
        form: as `quantise`.
        head: the layer that stays as it is.

    Returns:
        The same network.

    Raises:
        MetaftError: if the form is unknown or only read, or there is nothing to quantise.
    """
    chosen, names = form_of(form), [name for name in quantisable(model) if name != head]
    if not names:
        raise MetaftError(f"{type(model).__name__} has no linear layer or embedding to quantise but its head")
    packed: dict[int, Tensor] = {}
    weights: list[Any] = [model.get_submodule(name).weight for name in names]
    shared = {id(weight) for weight in weights if sum(weight is other for other in weights) > 1}
    while weights:  # each is let go when it is packed
        layer, weight = model.get_submodule(names.pop()), weights.pop()
        found = packed.get(id(weight))
        if found is None:
            found = chosen.pack(weight.T if type(layer) is transposed_kind() else weight)
        if id(weight) in shared:
            packed[id(weight)] = found
        hold(layer, chosen, found)
    return model


def quantisable(model: nn.Module) -> list[str]:
    """Layers whose weight can be packed, by name; of subclasses it is not known what they do with it."""
    modules = dict(model.named_modules())
    inside = tuple(f"{name}." for name, layer in modules.items() if isinstance(layer, COMPOSITE))
    return [name for name, layer in modules.items() if becomes(layer) is not None and not name.startswith(inside)]
