"""Where the best policy is known in closed form, it is found: π ∝ π_ref exp(score/β) over whole answers."""

from __future__ import annotations

import pytest
import torch

from metaft.preferences.ppo.kl_control import AdaptiveKL, FixedKL
from metaft.preferences.ppo.ppo import PPO
from tests.preferences.ppo.tabular import all_answers, distance, optimum, probabilities, table, trained

REFERENCE = table(1)
PLAIN = PPO(whiten=False, value_clip=None, value_weight=1.0)


def scores(words: int) -> torch.Tensor:
    draw = torch.Generator().manual_seed(words)
    return torch.randn(len(all_answers(words)), dtype=torch.float64, generator=draw)


@pytest.mark.parametrize("how", [PLAIN, PPO(value_weight=1.0)], ids=["plain", "whitened"])
@pytest.mark.parametrize(("words", "beta"), [(1, 0.4), (2, 0.4), (2, 1.5)])
def test_the_best_policy_is_found(words: int, beta: float, how: PPO) -> None:
    answers = all_answers(words)
    best = optimum(REFERENCE, answers, scores(words), beta)
    assert distance(best, probabilities(REFERENCE, answers)) > 0.07
    found = trained(REFERENCE, REFERENCE, answers, scores(words), how, FixedKL(beta))
    assert distance(best, probabilities(found.params, answers)) < 0.02


def test_without_scores_nothing_moves() -> None:
    answers = all_answers(2)
    found = trained(REFERENCE, REFERENCE, answers, torch.zeros(len(answers), dtype=torch.float64), PPO(), rollouts=10)
    assert distance(probabilities(REFERENCE, answers), probabilities(found.params, answers)) < 1e-9


def test_without_scores_a_policy_comes_back_to_the_reference() -> None:
    answers, start = all_answers(2), table(2)
    before = distance(probabilities(REFERENCE, answers), probabilities(start, answers))
    found = trained(start, REFERENCE, answers, torch.zeros(len(answers), dtype=torch.float64), PLAIN)
    assert before > 0.3
    assert distance(probabilities(REFERENCE, answers), probabilities(found.params, answers)) < 0.02


def test_control_leads_to_the_distance_that_is_wanted() -> None:
    answers, control = all_answers(2), AdaptiveKL(initial=0.7, target=0.5)
    found = trained(REFERENCE, REFERENCE, answers, scores(2), PLAIN, control, rollouts=60, lr=0.2, last_lr=0.01)
    reference, now = probabilities(REFERENCE, answers), probabilities(found.params, answers)
    divergence = lambda policy: float((policy * (policy / reference).log()).sum())
    assert divergence(optimum(REFERENCE, answers, scores(2), control.initial)) > 0.9
    assert divergence(optimum(REFERENCE, answers, scores(2), found.beta)) == pytest.approx(0.5, rel=0.05)
    assert divergence(now) == pytest.approx(0.5, rel=0.05)
