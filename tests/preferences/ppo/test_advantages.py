"""Advantages are those of the definition, and padding counts nowhere."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from metaft.preferences.ppo.advantages import generalised_advantages, whitened

DRAW = torch.Generator().manual_seed(0)
LENGTHS = [5, 1, 3, 4]


def some() -> Tensor:
    return torch.randn(4, 5, dtype=torch.float64, generator=DRAW)


def mask(places: int = 5) -> Tensor:
    return torch.arange(places) < torch.tensor(LENGTHS)[:, None]


@pytest.mark.parametrize("lam", [0.0, 0.95, 1.0])
@pytest.mark.parametrize("gamma", [1.0, 0.9, 0.0])
def test_advantages_are_sums_of_discounted_errors(gamma: float, lam: float) -> None:
    rewards, values = some(), some()
    advantages, returns = generalised_advantages(rewards, values, mask(), gamma, lam)
    for text, length in enumerate(LENGTHS):
        value = [*values[text, :length].tolist(), 0.0]
        errors = [float(rewards[text, t]) + gamma * value[t + 1] - value[t] for t in range(length)]
        for t in range(length):
            expected = sum((gamma * lam) ** (k - t) * errors[k] for k in range(t, length))
            assert float(advantages[text, t]) == pytest.approx(expected, abs=1e-12)
            assert float(returns[text, t]) == pytest.approx(expected + value[t], abs=1e-12)
    assert bool((advantages[~mask()] == 0).all())
    assert bool((returns[~mask()] == 0).all())


def test_without_an_error_there_is_no_advantage() -> None:
    rewards = some().masked_fill(~mask(), 0)
    values = rewards.flip(-1).cumsum(-1).flip(-1)  # what is still to come
    advantages, returns = generalised_advantages(rewards, values, mask(), 1.0, 0.7)
    torch.testing.assert_close(advantages, torch.zeros_like(advantages), rtol=0, atol=1e-12)
    torch.testing.assert_close(returns, values, rtol=0, atol=1e-12)


def test_whitened_values_have_mean_0_and_variance_1_over_words() -> None:
    found = whitened(3 + 5 * some(), mask())
    real = found[mask()]
    assert float(real.mean()) == pytest.approx(0, abs=1e-12)
    assert float(real.var(correction=0)) == pytest.approx(1, abs=1e-8)
    assert bool((found[~mask()] == 0).all())
    assert float(whitened(torch.full((1, 2), 7.0), torch.tensor([[True, False]])).abs().max()) == 0


@pytest.mark.parametrize("junk", [0.0, 1e6, float("nan"), float("inf")])
def test_padding_changes_nothing(junk: float) -> None:
    rewards, values, wide = some(), some(), 5 + 40
    further = lambda x: torch.cat([x, x.new_zeros(4, 40)], -1).masked_fill(~mask(wide), junk)
    plain = generalised_advantages(rewards, values, mask())
    padded = generalised_advantages(further(rewards), further(values), mask(wide))
    for one, other in zip(plain, padded, strict=True):
        torch.testing.assert_close(one, other[:, :5], rtol=0, atol=1e-12)
        assert bool((other[:, 5:] == 0).all())
    white = whitened(further(values), mask(wide))
    torch.testing.assert_close(white[:, :5], whitened(values, mask()), rtol=0, atol=1e-12)
    assert bool((white[:, 5:] == 0).all())


def test_no_words_have_no_advantages() -> None:
    nothing = torch.zeros(3, 0)
    assert [x.shape for x in generalised_advantages(nothing, nothing, nothing > 0)] == [(3, 0), (3, 0)]
