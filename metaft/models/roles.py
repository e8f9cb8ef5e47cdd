"""What each parameter of a network is for: embedding, attention, feed-forward, norms or head.

Told by what a layer is and where it stands. Only which layers of an attention give queries, keys and values has to be
known by name: nothing else tells them apart.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from metaft.models.added import Added
from metaft.models.quantised_layers import packed_weights

ROLES = ("embedding", "attention", "query", "key", "value", "output", "feed-forward", "norms")
TOGETHER = "query, key and value"
"""The role of a parameter that holds all three; those cannot be told apart in it."""

NAMES = {
    "query": ("query", "q_proj", "q_lin", "query_proj", "q"),  # here and BERT, Llama, DistilBERT, DeBERTa, T5
    "key": ("key", "k_proj", "k_lin", "key_proj", "k"),
    "value": ("value", "v_proj", "v_lin", "value_proj", "v"),
    TOGETHER: ("c_attn", "qkv", "qkv_proj", "query_key_value", "Wqkv", "in_proj"),  # GPT-2, Phi-3, GPT-NeoX, ModernBERT
    "output": ("output", "o_proj", "out_lin", "out_proj", "c_proj", "dense", "o"),
}
"""Role → what architectures call such a layer."""

OWN_NAMES = {
    "in_proj_weight": TOGETHER, "in_proj_bias": TOGETHER, "q_proj_weight": "query", "k_proj_weight": "key",
    "v_proj_weight": "value", "bias_k": "key", "bias_v": "value",
}  # fmt: skip
"""What torch's own attention calls its parameters; its output is a layer."""

_NORMS = (nn.LayerNorm, nn.RMSNorm, nn.GroupNorm, nn.modules.batchnorm._NormBase)


def roles_of(model: nn.Module, layer_of: Mapping[str, str], head: str | None) -> dict[str, tuple[str, ...]]:
    """The roles of all parameters, and of weights that are quantised.

    Args:
        model: the network.
        layer_of: parameter → its layer.
        head: the layer that answers; None where that is not clear.

    Returns:
        Parameter → its roles: none, or one of embedding, attention, feed-forward, norms and head; and of an attention
        with it one of query, key, value, output and `TOGETHER`.
    """
    modules = dict(model.named_modules())
    params = dict(model.named_parameters()) | packed_weights(model)
    matrices = [
        layer
        for layer in dict.fromkeys(layer_of.values())
        if layer != head and _is_matrix(modules[layer], [p for n, p in params.items() if layer_of[n] == layer])
    ]
    parts: dict[str, str] = {}
    inside: list[str] = []
    for name, module in modules.items():
        if isinstance(module, nn.MultiheadAttention):
            parts[name] = ""
            inside.append(_parent(name))
        elif (found := _queries(name, module)) and all(layer in matrices for layer in found):
            where, outputs = _outputs(name, found, matrices)
            parts |= found | dict.fromkeys(outputs, "output")
            inside.append(_parent(where))
    roles: dict[str, tuple[str, ...]] = {}
    for name in params:
        layer = layer_of[name]
        if layer == head:
            roles[name] = ("head",)
        elif layer in parts:
            roles[name] = ("attention", parts[layer] or OWN_NAMES.get(name.rpartition(".")[2], "output"))
        else:
            standing = any(_is_inside(layer, block) for block in inside)
            roles[name] = _alone(modules[layer], layer in matrices and standing)
    return roles


def _alone(module: nn.Module, within: bool) -> tuple[str, ...]:
    """The role of a layer that is no part of an attention."""
    if _is_norm(module):
        return ("norms",)
    if isinstance(module, nn.Embedding | nn.EmbeddingBag):
        return ("embedding",)
    return ("feed-forward",) if within else ()


def _queries(name: str, module: nn.Module) -> dict[str, str]:
    """Layer → role of those that give queries, keys and values, if a module has all of them."""
    children = [child for child, _ in module.named_children()]
    found = {
        f"{name}.{child}".removeprefix("."): role
        for child in children
        for role in ("query", "key", "value", TOGETHER)
        if child in NAMES[role]
    }
    whole = TOGETHER in found.values() or {"query", "key", "value"} <= set(found.values())
    return found if whole else {}


def _outputs(name: str, queries: Mapping[str, str], matrices: list[str]) -> tuple[str, tuple[str, ...]]:
    """The attention that queries are asked in, and its layers of output: its only other layer, or those called so."""
    for where in (name, _parent(name)):
        others = [layer for layer in matrices if _is_inside(layer, where) and layer not in queries]
        if len(others) == 1:
            return where, tuple(others)
        if where == name and others:
            return where, tuple(o for o in others if _parent(o) == where and o.rpartition(".")[2] in NAMES["output"])
    return name, ()


def _is_matrix(module: nn.Module, params: list[Tensor]) -> bool:
    plain = not isinstance(module, Added | nn.Embedding | nn.EmbeddingBag | nn.MultiheadAttention)
    return plain and not _is_norm(module) and any(p.dim() > 1 for p in params)


def _is_norm(module: nn.Module) -> bool:
    """Whether a layer is a norm, of torch or of others, who write their own."""
    own = list(module.parameters(recurse=False))
    named = type(module).__name__.lower().endswith("norm") and all(p.dim() < 2 for p in own)
    return isinstance(module, _NORMS) or named


def _parent(name: str) -> str:
    return name.rpartition(".")[0]


def _is_inside(name: str, where: str) -> bool:
    return not where or name == where or name.startswith(f"{where}.")
