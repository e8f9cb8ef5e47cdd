"""A soft prompt for one question: vectors before the text, trained by plain gradient (Lester et al. 2021)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from metaft.additions.attach import attach, placed
from metaft.additions.prompt import Prompt
from metaft.prompting.log_probability import Ids, log_probabilities
from metaft.prompting.teacher_forcing import forced
from metaft.tasks.random import generator
from metaft.validate import require_count, require_positive

Pairs = Sequence[tuple[Ids, Ids]]


def tuned(
    model: Any,
    train: Pairs,
    validation: Pairs,
    *,
    seed: int,
    length: int = 5,
    steps: int = 60,
    batch: int = 16,
    lr: float = 0.01,
    every: int = 10,
    progress: Callable[[int, float], object] = lambda step, loss: None,
) -> Any:
    """A copy of a model with vectors before every text that make the right answers likely.

    The loss is −log p(answer), by teacher forcing, descended by Adam; nothing but the vectors moves. Those with the
    lowest loss on the validation texts are kept, what they began as among them.

    Args:
        model: a causal network in evaluation mode, which says words.
        train: texts, each with its right answer.
        validation: other such.
        seed: of the words that the vectors begin as, and of batches.
        length: how many vectors.
        steps: how many.
        batch: texts of a step.
        lr: of Adam.
        every: so many steps the validation texts are asked.
        progress: called then with the step and the mean validation loss.

    Returns:
        The copy, in evaluation mode.

    Raises:
        MetaftError: if a number is too small, or the model takes no such vectors.
    """
    for what, count, least in (("steps", steps, 0), ("batch", batch, 1), ("every", every, 1)):
        require_count(count, what, least)
    require_positive(lr, "lr")
    network: Any = attach(model, Prompt(length=length), seed=seed).eval().requires_grad_(False)
    own = [p.requires_grad_() for added in placed(network, Prompt.name).values() for p in added.parameters()]
    outer = torch.optim.Adam(own, lr)
    kept: tuple[float, list[Tensor]] | None = None
    for step in range(steps + 1):
        if step % every == 0 or step == steps:
            held = -float(log_probabilities(network, validation).mean())
            if kept is None or held < kept[0]:
                kept = held, [p.detach().clone() for p in own]
            progress(step, held)
        if step < steps:
            some = generator(seed, "soft prompt", step).permutation(len(train))[:batch].tolist()
            outer.zero_grad()
            (-forced(network, [train[number] for number in some]).mean()).backward()
            outer.step()
    with torch.no_grad():
        for p, value in zip(own, kept[1] if kept else (), strict=True):
            p.copy_(value)
    return network
