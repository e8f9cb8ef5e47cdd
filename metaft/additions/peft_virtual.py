"""Prompts and prefixes as the library peft stores them: one table, a row for each virtual word."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from metaft.additions.addition import Params, Piece
from metaft.additions.linear import matrix
from metaft.additions.places import transformer_blocks
from metaft.additions.prefix import LearnedPrefix, Prefix, Shifted
from metaft.additions.prompt import MadeVectors, PromptVectors
from metaft.additions.started import Started
from metaft.additions.virtual_words import UnknownWords, VirtualWords, WordVectors, add_words, word_layer
from metaft.errors import MetaftError
from metaft.models.added import Added

PROMPTS, PREFIX = ("PROMPT_TUNING", "P_TUNING"), "PREFIX_TUNING"
"""What peft calls them; of P-Tuning it stores what its network makes."""
TABLE = "prompt_embeddings"
"""The only name among the values."""
COUNTERPARTS = "lora, ia3, prompt before the text, and prefix of a causal model"
"""What can be written as peft reads it."""


@dataclass(frozen=True)
class StartedVectors(Started, WordVectors):
    """Vectors of virtual words, from values."""

    word_by_word: ClassVar[bool] = True


def is_virtual(pieces: Mapping[str, Added]) -> bool:
    """Whether an addition gives a network virtual words, or keys and values of none.

    Args:
        pieces: layer → what the addition has there.
    """
    kinds = VirtualWords | WordVectors | UnknownWords | LearnedPrefix | Shifted
    return any(isinstance(added.piece, kinds) for added in pieces.values())


def exported(network: nn.Module, name: str, pieces: Mapping[str, Added]) -> tuple[Params, dict[str, Any]]:
    """Values and settings as peft has them.

    Args:
        network: in which the addition is.
        name: what it is called there.
        pieces: layer → what it has there.

    Returns:
        Both.

    Raises:
        MetaftError: if peft has nothing like it.
    """
    held = [added.piece for added in pieces.values()]
    if any(isinstance(piece, LearnedPrefix) for piece in held):
        table, told = _of_prefix(network, name, pieces)
    elif all(isinstance(piece, VirtualWords | PromptVectors | MadeVectors | StartedVectors) for piece in held):
        table, told = _of_prompt(name, pieces)
    else:
        kind = type(next(iter(pieces.values())).addition).__name__
        raise MetaftError(f"{name!r} cannot be exported: peft has nothing like {kind}; it has {COUNTERPARTS}")
    config: Any = network.model.config  # type: ignore[union-attr]
    told = {"num_layers": config.num_hidden_layers, "num_attention_heads": config.num_attention_heads, **told}
    return {TABLE: table.detach().contiguous()}, told | {"num_transformer_submodules": 1}


def _of_prompt(name: str, pieces: Mapping[str, Added]) -> tuple[Tensor, dict[str, Any]]:
    """The vectors; of a network that makes them, what it makes."""
    for added in pieces.values():
        if isinstance(added.piece, VirtualWords) and added.piece.behind:
            raise MetaftError(f"{name!r} cannot be exported: peft's prompts stand before the text, none behind it")
    (vectors,) = (a.piece.learned(a.own()) for a in pieces.values() if isinstance(a.piece, WordVectors))
    count, width = vectors.shape
    return vectors, {"peft_type": PROMPTS[0], "num_virtual_tokens": count, "token_dim": width}


def _of_prefix(network: nn.Module, name: str, pieces: Mapping[str, Added]) -> tuple[Tensor, dict[str, Any]]:
    """Keys and values of each attention, side by side."""
    if not getattr(network, "causal", False):
        raise MetaftError(
            f"{name!r} cannot be exported: peft runs prefixes in causal models alone, and this one reads in both "
            f"directions; peft has {COUNTERPARTS}"
        )
    if not any(isinstance(added.piece, Shifted) for added in pieces.values()):
        raise MetaftError(f"{name!r} cannot be exported: behind peft's prefixes texts begin later, and here shift=no")
    made: list[Tensor] = []
    heads = size = 0
    for block in transformer_blocks(network, name):
        added = pieces[block.attention]
        assert isinstance(added.piece, LearnedPrefix)
        heads, size = added.piece.heads, added.piece.size
        made += added.piece.made(added.own())
    return torch.cat(made, dim=-1), {
        "peft_type": PREFIX, "num_virtual_tokens": len(made[0]), "token_dim": heads * size,
        "num_attention_heads": heads, "encoder_hidden_size": heads * size, "prefix_projection": False,
    }  # fmt: skip


def sites(model: nn.Module, kind: str, stored: Params, folder: str) -> Mapping[str, Piece]:
    """The layers that such a folder has values for.

    Args:
        model: the network.
        kind: what peft calls it.
        stored: the values by peft's names.
        folder: for messages.

    Returns:
        Layer → piece.

    Raises:
        MetaftError: if there are other values, they do not fit, or the network has no place for them.
    """
    if set(stored) != {TABLE} or stored[TABLE].dim() != 2:
        raise MetaftError(f"{folder}: a {kind} of peft has one table, {TABLE}, and here is {', '.join(sorted(stored))}")
    table, whose = stored[TABLE], f"peft:{folder}"
    table = table if table.dtype == torch.float64 else table.float()
    if kind == PREFIX:
        return _prefix_sites(model, table, whose)
    width = matrix(model.get_submodule(word_layer(model, whose))).shape[-1]
    _require_width(table, width, "vectors of words", whose)
    start = {"vectors": table}
    return add_words(model, len(table), 0, lambda first, count: StartedVectors(first, count, start=start), whose)


def _prefix_sites(model: nn.Module, table: Tensor, whose: str) -> Mapping[str, Piece]:
    found = dict(Prefix(length=len(table)).sites(model))
    pieces = {name: piece for name, piece in found.items() if isinstance(piece, LearnedPrefix)}
    widths = [piece.heads * piece.size for piece in pieces.values() for _ in ("key", "value")]
    _require_width(table, sum(widths), "keys and values of all layers", whose)
    halves = iter(table.split(widths, dim=-1))
    return found | {name: replace(piece, start=(next(halves), next(halves))) for name, piece in pieces.items()}


def _require_width(table: Tensor, width: int, what: str, whose: str) -> None:
    if table.shape[-1] != width:
        raise MetaftError(f"{whose}: its values are {table.shape[-1]} wide, and the {what} here {width}")
