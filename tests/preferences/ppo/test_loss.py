"""Clipped losses by hand, and their gradients by finite differences."""

from __future__ import annotations

import math

import pytest
import torch

from metaft.preferences.ppo.loss import entropies, explained_variance, policy_loss, text_means, value_loss

RATIOS = [0.5, 0.79, 0.9, 1.0, 1.1, 1.21, 2.0]


@pytest.mark.parametrize("advantage", [2.0, -2.0])
def test_the_policys_loss_by_hand(advantage: float) -> None:
    """With A > 0 ratios above 1.2 have no gradient, with A < 0 those below 0.8."""
    old = torch.full((7,), -1.3, dtype=torch.float64)
    own = (old + torch.tensor(RATIOS, dtype=torch.float64).log()).requires_grad_()
    loss, logged = policy_loss(own, old, torch.full_like(old, advantage), 0.2)
    (grad,) = torch.autograd.grad(loss.sum(), own)
    for ratio, value, slope, share in zip(RATIOS, loss.detach(), grad, logged["clipped_share"], strict=True):
        off = ratio > 1.2 if advantage > 0 else ratio < 0.8
        bound = 1.2 if advantage > 0 else 0.8
        assert float(value) == pytest.approx(-advantage * (bound if off else ratio))
        assert float(slope) == pytest.approx(0.0 if off else -advantage * ratio)
        assert float(share) == off
    expected = [ratio - 1 - math.log(ratio) for ratio in RATIOS]
    assert logged["approximate_kl"].tolist() == pytest.approx(expected)
    assert not any(value.requires_grad for value in logged.values())


def test_the_values_loss_by_hand() -> None:
    # V_old = 1, ε = 0.2: a value beyond 1.2 counts as 1.2 only where that makes the loss larger.
    own = torch.tensor([1.1, 1.5, 1.5, 0.5, 0.5], dtype=torch.float64, requires_grad=True)
    returns = torch.tensor([2.0, 2.0, 0.0, 0.0, 2.0], dtype=torch.float64)
    loss, logged = value_loss(own, torch.ones_like(returns), returns, 0.2)
    (grad,) = torch.autograd.grad(loss.sum(), own)
    assert loss.detach().tolist() == pytest.approx([0.9**2 / 2, 0.8**2 / 2, 1.5**2 / 2, 0.8**2 / 2, 1.5**2 / 2])
    assert grad.tolist() == pytest.approx([-0.9, 0.0, 1.5, 0.0, -1.5])
    assert logged["values_clipped_share"].tolist() == [0, 1, 0, 1, 0]
    plain, _ = value_loss(own, torch.ones_like(returns), returns, None)
    torch.testing.assert_close(plain, (own - returns) ** 2 / 2)


def test_entropy_and_its_gradient() -> None:
    draw = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 5, dtype=torch.float64, generator=draw)
    logits[:, 2] = -torch.inf  # a word that is never said
    logits.requires_grad_()
    found = entropies(logits.log_softmax(-1))
    torch.testing.assert_close(found, torch.distributions.Categorical(logits=logits[:, [0, 1, 3, 4]]).entropy())
    (grad,) = torch.autograd.grad(found.sum(), logits)
    assert bool(grad.isfinite().all())
    shifted = lambda by: float(entropies((logits.detach() + by).log_softmax(-1)).sum())
    for place in [(0, 0), (1, 4)]:
        by = torch.zeros(3, 5, dtype=torch.float64)
        by[place] = 1e-6
        assert float(grad[place]) == pytest.approx((shifted(by) - shifted(-by)) / 2e-6, abs=1e-8)


def test_means_over_texts_are_means_over_words() -> None:
    mask = torch.tensor([[True, True, True], [True, False, False], [True, True, False]])
    values = torch.arange(9.0).reshape(3, 3).masked_fill(~mask, torch.nan)
    mean = values[mask].mean()
    torch.testing.assert_close(text_means(mask)(values).mean(), mean)
    length = mask.sum() / 3  # of all three, where each rank has some
    parts = [text_means(mask[some], length)(values[some]) for some in ([0], [1, 2])]
    torch.testing.assert_close(torch.cat(parts).mean(), mean)


def test_explained_variance() -> None:
    mask = torch.tensor([[True, True, False], [True, True, False]])
    returns = torch.tensor([[1.0, 2.0, 99.0], [3.0, 6.0, -99.0]])
    assert float(explained_variance(returns + 5, returns, mask)) == pytest.approx(1)
    assert float(explained_variance(torch.zeros(2, 3), returns, mask)) == pytest.approx(0)
    assert float(explained_variance(-returns, returns, mask)) == pytest.approx(-3)
    assert math.isnan(float(explained_variance(returns, torch.ones(2, 3), mask)))
