"""The best of several answers, against all subsets and against draws."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from metaft.errors import MetaftError
from metaft.preferences.best_of import best_of, best_of_kl, expected_best

DRAW = torch.Generator().manual_seed(0)


def test_the_best_of_each_prompt_is_chosen() -> None:
    scores = torch.tensor([1.0, 3.0, 2.0, 5.0, 5.0, 4.0])
    assert best_of("abcdef", scores, 3) == ["b", "d"]  # of equals the first
    assert best_of("abcdef", scores, 1) == list("abcdef")
    assert best_of("abcdef", scores, 6) == ["d"]
    assert best_of("", scores[:0], 2) == []


@pytest.mark.parametrize("n", [1, 2, 3, 6, 7])
@pytest.mark.parametrize("ties", [False, True])
def test_what_the_best_is_worth_is_the_mean_over_all_subsets(n: int, ties: bool) -> None:
    scores = torch.randn(2, 7, dtype=torch.float64, generator=DRAW)
    if ties:
        scores = scores.round()
    values = torch.randn(2, 7, dtype=torch.float64, generator=DRAW)
    for row in range(2):
        subsets = list(itertools.combinations(range(7), n))
        best = [max(some, key=lambda i: float(scores[row, i])) for some in subsets]  # of equals the first
        of_scores = sum(float(scores[row, i]) for i in best) / len(subsets)
        of_values = sum(float(values[row, i]) for i in best) / len(subsets)
        assert float(expected_best(scores, n)[row]) == pytest.approx(of_scores, abs=1e-12)
        assert float(expected_best(scores, n, values)[row]) == pytest.approx(of_values, abs=1e-12)


def test_it_is_without_bias_and_holds_for_many_samples() -> None:
    scores = torch.rand(2000, 20, dtype=torch.float64, generator=DRAW)
    found = expected_best(scores, 4)
    assert float(found.mean()) == pytest.approx(4 / 5, abs=4 * float(found.std()) / 2000**0.5)
    many = torch.linspace(0, 1, 3001, dtype=torch.float64)  # C(3001, 1500) is beyond any float
    assert float(expected_best(many, 1500)) == pytest.approx(1500 / 1501 * 3002 / 3000 - 1 / 3000, abs=1e-9)


@pytest.mark.parametrize("n", [1, 2, 5])
def test_its_divergence(n: int) -> None:
    """Of 2000 equally likely answers: the i-th lowest is the best of n with (i/N)^n − ((i − 1)/N)^n."""
    levels = torch.arange(2001, dtype=torch.float64) / 2000
    chances = (levels**n).diff()
    exact = float((chances * (chances * 2000).clamp(min=1e-300).log()).sum())
    assert best_of_kl(n) == pytest.approx(exact, abs=2e-3)
    assert best_of_kl(n) >= exact - 1e-12
    few = (torch.arange(3, dtype=torch.float64) / 2) ** n
    assert best_of_kl(n) >= float((few.diff() * (few.diff() * 2).log()).sum()) - 1e-12
    assert best_of_kl(n) == math.log(n) - (n - 1) / n


def test_what_does_not_do_is_one_line() -> None:
    some = torch.zeros(4)
    for call, said in [
        (lambda: best_of("abcd", some, 3), "multiple of 3"),
        (lambda: best_of("abc", some, 2), "a score for each"),
        (lambda: best_of("abcd", some, 0), "n must be"),
        (lambda: best_of("abcd", some + math.nan, 2), "none of them NaN"),
        (lambda: best_of("abcd", some.long(), 2), "none of them NaN"),
        (lambda: expected_best(some, 5), "best of 5 cannot be told from 4 samples"),
        (lambda: expected_best(some, 2, some[:3]), "one for each sample"),
        (lambda: expected_best(torch.tensor(1.0), 1), "from 0 samples"),
        (lambda: best_of_kl(0), "n must be"),
    ]:
        with pytest.raises(MetaftError, match=said):
            call()  # type: ignore[no-untyped-call]
