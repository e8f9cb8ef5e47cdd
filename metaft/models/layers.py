"""Features: what a network's layers hold when an example passes through."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from metaft.data.texts.labelled_texts import PADDING
from metaft.elementary.packing import current
from metaft.errors import MetaftError, nearest
from metaft.models.added import own_words
from metaft.models.anatomy import anatomy
from metaft.models.comparing import of_texts

Combine = Literal["concatenate", "average"]
RAW, PENULTIMATE = "raw", "penultimate"
READS = "input"
"""The layer of a network of texts through which the numbers of words come in."""


class OwnWords:
    """Which places of texts count: those of their own words.

    Args:
        ids: ``int64 [examples, places]``, 0 for padding.
        vocabulary: how many words there are; numbers from there on are an addition's. None where nobody says.
    """

    def __init__(self, ids: Tensor, vocabulary: int | None) -> None:
        self.ids = self.read = ids
        self.vocabulary = vocabulary

    def see(self, layer: nn.Module, given: Any, answer: Tensor) -> None:
        """Take notice of what the network reads: the texts with an addition's words, if it has some."""
        self.read = answer

    def places(self, layer: str, value: Tensor) -> Tensor:
        """Those that count, ``bool [examples, places]``.

        Args:
            layer: what holds the value, for the message.
            value: ``[examples, places, width]``.

        Raises:
            MetaftError: if its places are not those of the texts.
        """
        if value.shape[:2] == self.ids.shape:
            return self.ids != PADDING
        if value.shape[:2] == self.read.shape and self.vocabulary is not None:
            return own_words(self.read, self.vocabulary) != PADDING
        raise MetaftError(
            f"layer {layer!r} holds {value.shape[1]} places for texts of {self.ids.shape[1]}, and which of them are "
            "padding is not known; name another"
        )


class LayerFeatures(nn.Module):
    """A copy of a network, in evaluation mode, that answers with its layers' features in place of its own output.

    A map ``[examples, channels, *space]`` is averaged over space, a sequence ``[examples, positions, width]`` over
    its positions; those of a text over its words, padding left out. A layer that runs several times in a forward pass
    (one object in several places) gives what it held the last time.

    Args:
        model: any module whose forward pass takes one tensor; None if only raw inputs are asked for.
        features: ``"raw"`` (the flattened input), ``"penultimate"`` (the input of the head, see
            ``metaft.models.anatomy``), the
            name of any layer as in ``model.named_modules()``, or several of these joined by ``+``.
        combine: ``"concatenate"`` or ``"average"`` several layers; the latter needs equal widths.

    Raises:
        MetaftError: if a layer does not exist, the head is not clear, or a network is needed and missing.
    """

    def __init__(self, model: nn.Module | None, features: str = PENULTIMATE, combine: Combine = "concatenate") -> None:
        super().__init__()
        self.layers = tuple(part.strip() for part in features.split("+"))
        self.combine = combine
        if combine not in get_args(Combine):
            raise MetaftError(f"unknown way to combine layers {combine!r}{nearest(combine, get_args(Combine))}")
        inside = [layer for layer in self.layers if layer != RAW]
        if model is None and inside:
            raise MetaftError(f"features {features!r} are a network's: give one, or ask for features 'raw'")
        self.model = copy.deepcopy(model).eval() if model is not None and inside else None
        for layer in inside:
            self._require(layer)

    def forward(self, x: Tensor) -> Tensor:
        """Features of a batch of examples.

        Args:
            x: ``[examples, *input]``; for a network of texts pairs of them too, whose features are the difference.

        Returns:
            ``[examples, width]``.

        Raises:
            MetaftError: if a layer does not run in the forward pass, or widths to be averaged differ.
        """
        texts = not x.is_floating_point() and isinstance(getattr(self.model, READS, None), nn.Module)
        return of_texts(self._features, x) if texts else self._features(x)

    def _features(self, x: Tensor) -> Tensor:
        seen = {RAW: x.flatten(1)}
        if self.model is not None:
            words = None if x.is_floating_point() else OwnWords(x, getattr(self.model, "vocabulary", None))
            with self._watch(seen, words):
                self.model(x)
        for layer in self.layers:
            if layer not in seen:
                raise MetaftError(f"layer {layer!r} does not run in the network's forward pass; name another")
        found = [seen[layer] for layer in self.layers]
        if self.combine == "concatenate":
            return torch.cat(found, dim=-1)
        widths = {layer: part.shape[-1] for layer, part in zip(self.layers, found, strict=True)}
        if len(set(widths.values())) > 1:
            raise MetaftError(f"layers of different widths cannot be averaged: {widths}; concatenate them")
        return torch.stack(found).mean(0)

    def _modules_by_name(self) -> dict[str, nn.Module]:
        assert self.model is not None
        return {name: part for name, part in self.model.named_modules(remove_duplicate=False) if name}

    def _require(self, layer: str) -> None:
        known = self._modules_by_name()
        assert self.model is not None
        if layer == PENULTIMATE:
            try:
                self.head = anatomy(self.model).require_head()
            except MetaftError as error:
                raise MetaftError(f"no penultimate layer: {error.message}; or name one of {', '.join(known)}") from None
        elif layer not in known:
            raise MetaftError(f"the network has no layer {layer!r}; it has {', '.join([RAW, PENULTIMATE, *known])}")

    @contextmanager
    def _watch(self, seen: dict[str, Tensor], words: OwnWords | None) -> Iterator[None]:
        """While this lasts, `seen` collects what passes through the layers asked for; `words` are the texts'."""
        known, hooks = self._modules_by_name(), []
        if words is not None and READS in known:  # additions may have put words of their own into the text
            hooks.append(known[READS].register_forward_hook(words.see))
        for layer in self.layers:
            if layer in known:
                hooks.append(known[layer].register_forward_hook(partial(_keep_output, seen, layer, words)))
        if PENULTIMATE in self.layers:
            assert self.model is not None
            hooks.append(
                self.model.get_submodule(self.head).register_forward_pre_hook(partial(_keep_input, seen, words))
            )
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()


def _keep_output(
    seen: dict[str, Tensor], layer: str, words: OwnWords | None, module: nn.Module, inputs: Any, output: Any
) -> None:
    seen[layer] = _vectors(layer, output, words, inputs[0].shape[0])


def _keep_input(seen: dict[str, Tensor], words: OwnWords | None, module: nn.Module, inputs: Any) -> None:
    seen[PENULTIMATE] = _vectors(PENULTIMATE, inputs[0], words, inputs[0].shape[0])


def _vectors(layer: str, value: Any, words: OwnWords | None, examples: int) -> Tensor:
    """``[examples, width]`` of what a layer holds, as a copy: the next layer may work in place."""
    if isinstance(value, tuple | list) and value:  # attention and recurrent layers: the first is the output
        value = value[0]
    packing = current()
    if packing is not None and isinstance(value, Tensor) and value.shape[:2] == (1, len(packing.index)):
        value, examples = packing.spread(value), len(packing.inverse)
    if not isinstance(value, Tensor) or value.dim() < 2 or value.shape[0] != examples:
        shape = list(value.shape) if isinstance(value, Tensor) else type(value).__name__
        raise MetaftError(f"layer {layer!r} holds {shape} for {examples} examples, not [examples, width]; name another")
    if value.dim() == 3:
        if words is None:
            return value.mean(1)
        weights = words.places(layer, value).to(value.dtype).unsqueeze(-1)
        return (weights * value).sum(1) / weights.sum(1).clamp(min=1)
    return value.flatten(2).mean(2) if value.dim() > 3 else value.clone()
