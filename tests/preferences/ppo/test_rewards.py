"""What words earn, and the coefficient of the distance to the reference."""

from __future__ import annotations

import math

import pytest
import torch

from metaft.errors import MetaftError
from metaft.preferences.ppo.kl_control import AdaptiveKL, FixedKL
from metaft.preferences.ppo.rewards import kl_estimates, rewards


@pytest.mark.parametrize("estimator", ["k1", "k3"])
def test_the_mean_of_estimates_is_the_divergence(estimator: str) -> None:
    draw = torch.Generator().manual_seed(0)
    own, other = torch.randn(2, 9, dtype=torch.float64, generator=draw).log_softmax(-1)
    found = float((own.exp() * kl_estimates(own, other, estimator)).sum())  # type: ignore[arg-type]
    assert found == pytest.approx(float((own.exp() * (own - other)).sum()), abs=1e-12)


def test_estimates_by_hand() -> None:
    own, other = torch.tensor([0.5, 0.2]).log(), torch.tensor([0.25, 0.4]).log()
    assert kl_estimates(own, other).tolist() == pytest.approx([math.log(2), -math.log(2)])
    assert kl_estimates(own, other, "k3").tolist() == pytest.approx([0.5 - 1 + math.log(2), 2 - 1 - math.log(2)])
    with pytest.raises(MetaftError, match="unknown estimator 'k2'"):
        kl_estimates(own, other, "k2")  # type: ignore[arg-type]


def test_the_last_word_has_the_score_besides() -> None:
    kl = torch.tensor([[1.0, 2.0, math.nan], [3.0, math.inf, math.nan], [1.0, 1.0, 1.0]])
    mask = torch.tensor([[True, True, False], [True, False, False], [True, True, True]])
    found = rewards(torch.tensor([10.0, 20.0, 30.0]), kl, mask, 0.5)
    assert found.tolist() == [[-0.5, 9.0, 0.0], [18.5, 0.0, 0.0], [-0.5, -0.5, 29.5]]
    with pytest.raises(MetaftError, match="an answer has no words"):
        rewards(torch.ones(2), torch.ones(2, 1), torch.tensor([[True], [False]]), 0.5)


def test_a_fixed_coefficient_stays() -> None:
    assert FixedKL(0.3).start() == FixedKL(0.3).after(0.3, 99.0) == 0.3
    assert FixedKL(0).start() == 0


@pytest.mark.parametrize(
    ("kl", "factor"), [(6.0, 1.0), (6.6, 1.01), (5.4, 0.99), (7.2, 1.02), (60.0, 1.02), (0.0, 0.98), (-1.0, 0.98)]
)
def test_an_adaptive_coefficient_follows_the_error(kl: float, factor: float) -> None:
    control = AdaptiveKL(initial=0.2, target=6.0)
    assert control.after(control.start(), kl) == pytest.approx(0.2 * factor)
    assert AdaptiveKL(target=6.0, gain=0.5).after(3.0, kl) == pytest.approx(3.0 * (1 + 5 * (factor - 1)))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: FixedKL(-1), "coefficient must be"),
        (lambda: AdaptiveKL(target=0), "target must be"),
        (lambda: AdaptiveKL(initial=math.nan), "initial must be"),
        (lambda: AdaptiveKL(gain=5), "it must be below 1"),
    ],
)
def test_what_does_not_do_is_one_line(make: object, said: str) -> None:
    with pytest.raises(MetaftError, match=said):
        make()  # type: ignore[operator]
