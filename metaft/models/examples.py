"""Random examples that a network takes, told from its layers where it does not say."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator

import torch
from torch import Tensor, nn

INPUT_SHAPE = "input_shape"
"""Attribute of a network: the shape of one example."""

TOLD, EXAMPLES, POSITIONS, TOKENS = 2, 5, 6, 9
"""How many; five where the shape is guessed, as few images have so many channels and could be taken for one."""
USUAL = (28, 84, 32, 64, 16, 224, 96, 105, 128)
LARGEST = 256
CONVOLUTIONS = {nn.Conv1d: 1, nn.Conv2d: 2, nn.Conv3d: 3, nn.BatchNorm2d: 2, nn.BatchNorm3d: 3, nn.InstanceNorm2d: 2}


def examples(model: nn.Module) -> Iterator[Tensor]:
    """Inputs to try, the likeliest first.

    Args:
        model: a network; its attribute ``input_shape``, the shape of one example, is tried first if it has one.

    Yields:
        ``[examples, *input]``, of the parameters' type and device, or int64 tokens.
    """
    like = next((p for p in model.parameters() if p.is_floating_point()), torch.empty(0))
    told = getattr(model, INPUT_SHAPE, None)
    sizes = [int(part.num_embeddings) for part in model.modules() if _embeds(part)]  # type: ignore[arg-type]
    words = min(sizes, default=2)
    tokens = lambda *shape: torch.randint(1, max(words, 2), shape, device=like.device).clamp(max=words - 1)
    values = lambda *shape: torch.rand(shape, dtype=like.dtype, device=like.device)
    if isinstance(told, tuple | list | torch.Size) and all(isinstance(axis, int) for axis in told):
        yield values(TOLD, *told)
        yield tokens(TOLD, *told)
    if sizes:  # of words, or of as little as the two texts of a pair
        yield tokens(EXAMPLES, TOKENS)
    for shape in dict.fromkeys(_vectors(model)):
        yield values(EXAMPLES, *shape)
    yield from (values(EXAMPLES, *shape) for shape in _images(model))


def _vectors(model: nn.Module) -> Iterator[tuple[int, ...]]:
    layers = list(model.modules())
    for part in layers:
        if isinstance(part, nn.Linear):
            yield (part.in_features,)
        elif isinstance(part, nn.RNNBase):
            yield (POSITIONS, part.input_size)
        elif isinstance(part, nn.RNNCellBase):
            yield (part.input_size,)
        elif isinstance(part, nn.MultiheadAttention):
            yield (POSITIONS, part.embed_dim)
        elif isinstance(part, nn.LayerNorm):
            yield tuple(part.normalized_shape)
        elif isinstance(part, nn.BatchNorm1d):
            yield (part.num_features,)
    for part in layers:  # sequences, after all vectors
        if isinstance(part, nn.Linear):
            yield (POSITIONS, part.in_features)
        elif isinstance(part, nn.RNNCellBase):
            yield (POSITIONS, part.input_size)
        elif isinstance(part, nn.LayerNorm):
            yield (POSITIONS, *part.normalized_shape)


def _images(model: nn.Module) -> Iterator[tuple[int, ...]]:
    """Sizes that pass through, found without computing where the network lets itself be run on shapes alone."""
    starts: dict[tuple[int, int], None] = {}
    for part in model.modules():
        for kind, space in CONVOLUTIONS.items():
            if isinstance(part, kind):
                channels = getattr(part, "in_channels", 0) or getattr(part, "num_features", 0)
                starts[int(channels), space] = None
    if not starts:
        return
    shapes_alone = copy.deepcopy(model).to("meta")
    sizes = list(dict.fromkeys([*USUAL, *range(1, LARGEST + 1)]))
    found = False
    for channels, space in starts:
        for size in sizes[: len(USUAL)] if space == 3 else sizes:
            shape = (channels, *itertools.repeat(size, space))
            if _passes(shapes_alone, shape):
                found = True
                yield shape
                break
    if not found:
        yield from ((channels, *(size,) * space) for channels, space in starts for size in USUAL if space < 3)


def _passes(model: nn.Module, shape: tuple[int, ...]) -> bool:
    like = next(p for p in model.parameters() if p.is_floating_point())
    try:
        with torch.no_grad():
            answer = model(torch.empty(EXAMPLES, *shape, dtype=like.dtype, device="meta"))
    except Exception:
        return False
    return not isinstance(answer, Tensor) or (answer.dim() > 0 and len(answer) == EXAMPLES)


def _embeds(part: nn.Module) -> bool:
    return isinstance(part, nn.Embedding | nn.EmbeddingBag)
