"""What a small change of a trigger's words would do to the loss, from one gradient."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from metaft.additions.virtual_words import word_layer
from metaft.elementary.packing import padded
from metaft.prompting.log_probability import Ids
from metaft.prompting.teacher_forcing import forced
from metaft.prompting.trigger.questions import Question, Questions


def word_vectors(model: Any) -> Tensor:
    """The vectors of all words as the network takes them in, ``[vocabulary, width]``, without a gradient."""
    layer = model.get_submodule(word_layer(model, "a trigger"))
    with torch.no_grad():
        found: Tensor = layer(torch.arange(layer.num_embeddings, device=next(model.parameters()).device))
    return found


def gradient(model: Any, questions: Sequence[Question], given: Questions, length: int) -> tuple[Tensor, Tensor]:
    """The mean loss, and its gradient with respect to the vectors of the trigger's words.

    A word of the trigger stands in all prompts: the gradient is that of moving it in all of them at once.

    Args:
        model: a causal network in evaluation mode.
        questions: prompts with the same trigger.
        given: where they are from; knows the loss.
        length: of the trigger.

    Returns:
        A number, and ``[length, width]``.
    """
    layer = model.get_submodule(word_layer(model, "a trigger"))
    like = next(p for p in model.parameters() if p.is_floating_point())
    pairs = [pair for question in questions for pair in question.pairs]
    begins = torch.tensor([question.begin for question in questions for _ in question.answers], device=like.device)
    places = begins[:, None] + torch.arange(length, device=like.device)
    rows = torch.arange(len(pairs), device=like.device)[:, None].expand_as(places)
    moved = torch.zeros(length, _width(layer), dtype=like.dtype, device=like.device, requires_grad=True)

    def after(_: Any, __: Any, vectors: Tensor) -> Tensor:
        change = torch.zeros_like(vectors).index_put((rows, places), moved.expand(len(pairs), -1, -1))
        return vectors + change

    hook = layer.register_forward_hook(after)
    try:
        with torch.enable_grad(), padded():  # packed words would have other places
            loss = given.losses(forced(model, pairs), questions).mean()
        (found,) = torch.autograd.grad(loss, moved)
    finally:
        hook.remove()
    return loss.detach(), found


def estimates(gradients: Tensor, vectors: Tensor, trigger: Ids) -> Tensor:
    """The change of the loss, to first order, if one word of a trigger is replaced by another.

    (e_w − e_now) · ∇L, which ranks words as −e_w · ∇L does (Shin et al. 2020, eq. 2).

    Args:
        gradients: ``[length, width]``, with respect to the vectors of its words.
        vectors: of all words, ``[vocabulary, width]``.
        trigger: numbers of its words.

    Returns:
        ``[length, vocabulary]``; negative where the loss would fall.
    """
    found = gradients @ vectors.T
    return found - found.gather(1, torch.tensor(trigger, device=found.device)[:, None])


def _width(layer: Any) -> int:
    """How many numbers a word's vector has."""
    return int(layer.embedding_dim)
