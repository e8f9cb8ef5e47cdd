"""Layers whose weight lies in memory at 4 or 8 bits, is unpacked wherever it is used, and never moves."""

from __future__ import annotations

import copy
import functools
import sys
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metaft.errors import MetaftError
from metaft.models.number_forms import NumberForm

PACKED = "packed"
PIECE = 2**20
"""So many numbers of a matrix are unpacked at a time."""


class Quantised(nn.Module):
    """What a layer with a packed weight has, whatever it does with it.

    The weight is a buffer of bytes, and no parameter: nothing adapts it, and it has no gradient. Gradients pass through
    it, of any order.

    Attributes:
        packed: ``uint8 [rows, bytes of a row]``; a row is an output, or a word.
        like: empty; the weight has its type when it is unpacked, as the layer need have no other tensor with one.
        form: the form of the bytes.
        columns: how many numbers a row has.
        kind: the layer's class as an ordinary one.
    """

    packed: Tensor
    like: Tensor
    form: NumberForm
    columns: int
    kind: type[nn.Module]

    @property
    def weight(self) -> Tensor:
        """All of it as the ordinary layer would have it, unpacked anew at every call."""
        rows = self.rows(self.packed)
        return rows.T if self.kind is transposed_kind() else rows

    def rows(self, packed: Tensor) -> Tensor:
        """Rows of the weight: ``uint8 [..., bytes of a row]`` → ``[..., columns]``, of the type of ``like``."""
        return self.form.unpack(packed, self.columns).to(self.like.dtype)

    def __deepcopy__(self, memo: dict[int, Any]) -> Quantised:
        """Copies share the bytes, which nobody changes."""
        memo[id(self.packed)] = self.packed
        made = memo[id(self)] = type(self).__new__(type(self))
        made.__dict__.update(copy.deepcopy(self.__dict__, memo))
        return made

    def _load_from_state_dict(self, *args: Any, **more: Any) -> None:
        self.packed = self.packed.clone()  # those of copies stay as they are
        super()._load_from_state_dict(*args, **more)


class QuantisedLinear(Quantised, nn.Linear):  # type: ignore[override]
    """A linear layer with a packed weight, ``[outputs, inputs]``."""

    def forward(self, input: Tensor) -> Tensor:
        """W x + c."""
        if torch.compiler.is_dynamo_compiling():
            return F.linear(input, self.rows(self.packed), self.bias)
        product = _Product.apply(input, self.packed, self, False)
        return product if self.bias is None else product + self.bias


class QuantisedEmbedding(Quantised, nn.Embedding):  # type: ignore[override]
    """Vectors of words, of which only those asked for are unpacked."""

    def forward(self, input: Tensor) -> Tensor:
        """A row each."""
        return self.rows(self.packed[input])

    def scores(self, states: Tensor) -> Tensor:
        """The product of states with all vectors, as a layer of words tied to this one has it.

        Args:
            states: ``[..., width]``.

        Returns:
            ``[..., words]``.
        """
        return _Product.apply(states, self.packed, self, False)


class _Product(torch.autograd.Function):
    """A product with a packed matrix, or its transpose; its derivative is one too.

    What is kept for the derivative are the bytes: with torch's own product all matrices of a network would lie in
    memory unpacked until it is taken.
    """

    @staticmethod
    def forward(x: Tensor, packed: Tensor, layer: Quantised, transposed: bool) -> Tensor:
        rows = max(PIECE // layer.columns, 1)
        pieces = packed.split(rows)
        if not transposed:
            found = [F.linear(x, layer.rows(piece)) for piece in pieces]
            return found[0] if len(found) == 1 else torch.cat(found, -1)
        found = [F.linear(part, layer.rows(piece).T) for part, piece in zip(x.split(rows, -1), pieces, strict=True)]
        return functools.reduce(torch.add, found)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        _, packed, ctx.layer, ctx.transposed = inputs
        ctx.save_for_backward(packed)
        ctx.save_for_forward(packed)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        return _Product.apply(gradient, *ctx.saved_tensors, ctx.layer, not ctx.transposed), None, None, None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, *_: None) -> Tensor:
        return _Product.apply(tangent, *ctx.saved_tensors, ctx.layer, ctx.transposed)

    @staticmethod
    def vmap(info: Any, axes: tuple[int | None, ...], x: Tensor, packed: Tensor, *how: Any) -> tuple[Tensor, int]:
        return _Product.apply(x.movedim(axes[0] or 0, 0), packed, *how), 0


def transposed_kind() -> type[nn.Module] | None:
    """GPT-2's linear layer, whose weight is ``[inputs, outputs]``, where that is loaded."""
    library = sys.modules.get("transformers.pytorch_utils")
    return None if library is None else library.Conv1D


def becomes(layer: nn.Module) -> type[Quantised] | None:
    """What an ordinary layer is when its weight is packed; None for one of another kind.

    Args:
        layer: the layer; of a subclass it is not known what it does with its weight.
    """
    if "weight" not in layer._parameters:  # a buffer, as of what says words in a backbone
        return None
    if type(layer) is nn.Embedding and layer.max_norm is None:
        return QuantisedEmbedding
    return QuantisedLinear if type(layer) in (nn.Linear, transposed_kind()) else None


def hold(layer: nn.Module, form: NumberForm, packed: Tensor) -> None:
    """Let a layer hold a packed weight in place of its own; it remains the same object, with its hooks and children.

    Args:
        layer: linear or an embedding.
        form: of the bytes.
        packed: ``uint8 [rows, bytes of a row]``.

    Raises:
        MetaftError: if it is another layer, or they are not the bytes of such a weight.
    """
    own, kind = layer.get_parameter("weight"), type(layer)
    packed_kind = becomes(layer)
    if packed_kind is None:
        raise MetaftError(f"the weight of a {kind.__name__} cannot be quantised")
    rows, columns = own.shape[::-1] if kind is transposed_kind() else own.shape
    size = -(-columns // form.block) * form.size
    if packed.dtype != torch.uint8 or packed.shape != (rows, size):
        raise MetaftError(
            f"a weight of {rows} × {columns} in the form {form.name} is {rows} × {size} bytes, not "
            f"{' × '.join(map(str, packed.shape))}"
        )
    del layer.weight
    layer.__class__ = packed_kind
    layer.form, layer.columns, layer.kind = form, columns, kind  # type: ignore[assignment]
    if packed_kind is QuantisedLinear:
        layer.in_features, layer.out_features = columns, rows  # type: ignore[assignment]
    layer.register_buffer(PACKED, packed)
    layer.register_buffer("like", torch.empty(0, dtype=own.dtype, device=packed.device), persistent=False)


def widen(model: nn.Module) -> nn.Module:
    """Let all quantised layers of a network be ordinary ones again, with the numbers that they stood for; in place.

    Args:
        model: the network.

    Returns:
        The same network.
    """
    weights: dict[int, nn.Parameter] = {}
    for layer in [part for part in model.modules() if isinstance(part, Quantised)]:
        packed = id(layer.packed)
        weights[packed] = let_go(layer, weights.get(packed, layer.weight))
    return model


def let_go(layer: Quantised, weight: Tensor) -> nn.Parameter:
    """Let a quantised layer be an ordinary one; it remains the same object, with its hooks and children.

    Args:
        layer: the layer.
        weight: what it shall have; or the parameter itself.

    Returns:
        Its parameter.
    """
    kind = layer.kind
    own = weight if isinstance(weight, nn.Parameter) else nn.Parameter(weight.contiguous())
    for name in (PACKED, "like", "form", "columns", "kind"):
        delattr(layer, name)
    layer.__class__ = kind  # type: ignore[assignment]
    layer._parameters = {"weight": own, **layer._parameters}
    return own


def packed_weights(model: nn.Module) -> dict[str, Tensor]:
    """The packed weights of a network.

    Args:
        model: the network.

    Returns:
        Name → ``uint8 [rows, bytes of a row]``.
    """
    layers = ((name, part) for name, part in model.named_modules() if isinstance(part, Quantised))
    return {f"{name}.{PACKED}".removeprefix("."): part.packed for name, part in layers}
