"""A policy that is a table, of which everything is known: the next word depends on the last one alone."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from metaft.preferences.policy import Params
from metaft.preferences.ppo.kl_control import FixedKL, KLControl
from metaft.preferences.ppo.minibatches import MinibatchOrder
from metaft.preferences.ppo.ppo import PPO, experience, summary, update

PROMPT, END, VOCABULARY = 1, 2, 7
"""Words 3 … 6 are neither; 0 is padding."""


def policy(params: Params, ids: Tensor, asked: Tensor) -> tuple[Tensor, Tensor]:
    last = ids[:, :-1][asked[:, 1:]]
    logits = params["words"][last]
    unsaid = torch.zeros(VOCABULARY, dtype=torch.bool)
    unsaid[[0, PROMPT]] = True
    return logits.masked_fill(unsaid, -torch.inf), params["values"][last]


def table(seed: int, size: float = 1.0) -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    words = size * torch.randn(VOCABULARY, VOCABULARY, dtype=torch.float64, generator=draw)
    return {"words": words, "values": torch.zeros(VOCABULARY, dtype=torch.float64)}


def all_answers(words: int) -> Tensor:
    """All that can be said in so many words, ``[answers, words]``: some end early."""
    some: Iterable[tuple[int, ...]] = itertools.product(range(END, VOCABULARY), repeat=words)
    cut = {answer[: answer.index(END) + 1] if END in answer else answer for answer in some}
    return torch.tensor([list(answer) + [0] * (words - len(answer)) for answer in sorted(cut)])


@torch.no_grad()
def probabilities(params: Params, answers: Tensor) -> Tensor:
    """Of whole answers, by the product over their words, ``[answers]``."""
    before = torch.cat([torch.full_like(answers[:, :1], PROMPT), answers[:, :-1]], dim=1)
    ids = torch.nn.functional.pad(before, (0, 1))
    asked = torch.nn.functional.pad(torch.ones_like(before, dtype=torch.bool), (1, 0))
    chances = policy(params, ids, asked)[0].softmax(-1).reshape(*answers.shape, VOCABULARY)
    said = chances.gather(-1, answers[..., None])[..., 0]
    return said.where(answers != 0, 1.0).prod(-1)


def optimum(reference: Params, answers: Tensor, scores: Tensor, beta: float) -> Tensor:
    """π ∝ π_ref exp(score/β) over whole answers: what climbs E[score] − β KL(π ‖ π_ref), the KL over whole answers."""
    made = probabilities(reference, answers) * (scores / beta).exp()
    return made / made.sum()


def distance(one: Tensor, other: Tensor) -> float:
    """Total variation."""
    return float((one - other).abs().sum()) / 2


@dataclass
class Trained:
    params: dict[str, Tensor]
    beta: float
    told: list[dict[str, float]]


def trained(
    start: Params,
    reference: Params,
    answers: Tensor,
    scores: Tensor,
    how: PPO,
    control: KLControl | None = None,
    *,
    rollouts: int = 40,
    texts: int = 300,
    lr: float = 0.3,
    last_lr: float = 5e-3,
) -> Trained:
    """Proximal policy optimisation of the table, from sampled answers; the rate falls from ``lr`` to ``last_lr``."""
    params = {name: value.clone().requires_grad_() for name, value in start.items()}
    control = control or FixedKL(1.0)
    order, beta, told = MinibatchOrder(texts, minibatches=2, epochs=2, seed=0), control.start(), []
    adam = torch.optim.Adam(params.values(), lr=lr)
    decay = torch.optim.lr_scheduler.ExponentialLR(adam, (last_lr / lr) ** (1 / rollouts))
    draw = torch.Generator().manual_seed(0)
    for rollout in range(rollouts):
        # Systematic sampling: as often as by independent draws on average, with less noise.
        level = (torch.arange(texts) + torch.rand(1, dtype=torch.float64, generator=draw)) / texts
        said = torch.searchsorted(probabilities(params, answers).cumsum(0), level).clamp(max=len(answers) - 1)
        prompts = torch.full((texts, 1), PROMPT)
        fixed = lambda ids, asked: policy(reference, ids, asked)[0]
        found = experience(policy, params, fixed, prompts, answers[said], scores[said], beta, how, at_once=texts)
        for number in range(order.updates):
            losses, _ = update(policy, params, found[order.rows(rollout * order.updates + number)], how)
            adam.zero_grad()
            losses.mean().backward()
            adam.step()
        decay.step()
        told.append(summary(found))
        beta = control.after(beta, told[-1]["kl"])
    return Trained({name: value.detach() for name, value in params.items()}, beta, told)
