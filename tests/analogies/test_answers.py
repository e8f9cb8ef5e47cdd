"""Answers, guesses and intervals, against loops and simulation; a picture's plane against numpy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from metaft.errors import MetaftError
from metaft.evaluation import analogies
from metaft.evaluation.analogies import METHODS, answers, guessing, plane, share, unit


def drawn(seed: int, *size: int) -> Tensor:
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def one_by_one(vectors: Tensor, a: int, b: int, c: int, method: str) -> int:
    """As the paper writes it, with vectors of any length."""
    cosine = lambda x, y: float(vectors[x] @ vectors[y] / (vectors[x].norm() * vectors[y].norm()))
    direction = lambda x: vectors[x] / vectors[x].norm()
    best, found = -math.inf, -1
    for d in range(len(vectors)):
        if d in (a, b, c):
            continue
        if method == "3CosAdd":  # eq. 1: the cosine with one vector, not a sum of three
            target = direction(b) - direction(a) + direction(c)
            score = float(direction(d) @ target / target.norm())
        elif method == "3CosMul":
            near = [(cosine(d, word) + 1) / 2 for word in (a, b, c)]
            score = near[1] * near[2] / (near[0] + 0.001)
        else:
            score = cosine(d, c)
        if score > best:
            best, found = score, d
    return found


@pytest.mark.parametrize("method", METHODS)
def test_answers_are_those_of_a_loop(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = drawn(0, 30, 4) * torch.rand(30, 1) * 9
    questions = torch.randint(30, (60, 4), generator=torch.Generator().manual_seed(1))
    wanted = [one_by_one(vectors, *row[:3], method) for row in questions.tolist()]
    assert answers(unit(vectors), questions, method).tolist() == wanted
    monkeypatch.setattr(analogies, "ROOM", 70)  # two questions at once
    assert answers(unit(vectors), questions, method).tolist() == wanted
    monkeypatch.setattr(analogies, "MOST", 400)  # products of 13 words with all
    assert answers(unit(vectors), questions, method).tolist() == wanted
    assert answers(unit(vectors), questions[:0], method).tolist() == []


def test_a_parallelogram_is_answered_and_given_words_never() -> None:
    # king = royal + man; were given words not left out, the answer would be b or c.
    vectors = torch.tensor([[1.0, 0, 0.1], [1, 0, 2], [0, 1, 0.1], [0, 1, 2], [-1, -1, -1]])
    question = torch.tensor([[0, 1, 2]])
    assert answers(unit(vectors), question).tolist() == [3]
    found = answers(unit(drawn(2, 9, 3)), torch.randint(9, (200, 3), generator=torch.Generator().manual_seed(3)))
    given = torch.randint(9, (200, 3), generator=torch.Generator().manual_seed(3))
    assert not (found[:, None] == given).any()


def test_what_cannot_be_answered_is_refused() -> None:
    with pytest.raises(MetaftError, match="did you mean '3CosAdd'"):
        answers(torch.eye(5), torch.tensor([[0, 1, 2]]), "3CosAd")
    with pytest.raises(MetaftError, match="at least four words, not 3"):
        answers(torch.eye(3), torch.tensor([[0, 1, 2]]))


def test_a_vector_of_zeros_is_no_trouble() -> None:
    found = answers(
        unit(torch.tensor([[1.0, 0], [1, 1], [0, 1], [0, 0], [-1, 1]])), torch.tensor([[0, 1, 2]]), "3CosMul"
    )
    assert found.tolist() == [4]
    assert torch.isfinite(unit(torch.zeros(2, 2))).all()


def test_guesses_by_counting() -> None:
    questions = torch.tensor([[0, 1, 2, 3], [0, 1, 4, 5], [2, 3, 0, 1], [6, 7, 6, 8], [6, 7, 9, 7]])
    kinds = torch.tensor([0, 0, 0, 1, 1])
    among_all, among_kind = [], []
    for row, kind in zip(questions.tolist(), kinds.tolist(), strict=True):
        allowed = set(range(12)) - set(row[:3])
        answers_of_kind = {q[3] for q, k in zip(questions.tolist(), kinds.tolist(), strict=True) if k == kind}
        among_all.append((row[3] in allowed) / len(allowed))
        among_kind.append((row[3] in allowed) / max(1, len(answers_of_kind & allowed)))
    assert guessing(questions, kinds, 12) == pytest.approx((np.mean(among_all), np.mean(among_kind)))
    assert all(math.isnan(value) for value in guessing(questions[:0], kinds[:0], 12))


def all_pairs(count: int) -> Tensor:
    return torch.tensor([(i, j) for i in range(count) for j in range(count) if i != j])


def test_the_variance_is_the_jackknife_written_out() -> None:
    """By a loop that leaves out each pair with its questions."""
    pairs = torch.cat([all_pairs(7), torch.tensor([[2, 2], [5, 5]])])
    ease = drawn(4, 7)
    right = ease[pairs[:, 0]] + ease[pairs[:, 1]] + 0.2 * drawn(5, len(pairs)) > 0.1
    left = [
        np.mean([float(y) for y, pair in zip(right.tolist(), pairs.tolist(), strict=True) if i not in pair])
        for i in range(7)
    ]
    variance = 6 / 7 * sum((x - np.mean(left)) ** 2 for x in left)
    found, mean = share(right, pairs), float(right.double().mean())
    t = 2.446911851  # 6 degrees of freedom
    count = mean * (1 - mean) / variance
    assert 2 < count < len(pairs)
    # The ends of Wilson's interval are where the distance is t standard deviations.
    for end in (found.low, found.high):
        assert abs(end - mean) == pytest.approx(t * math.sqrt(end * (1 - end) / count))
    assert (found.right, found.count) == (int(right.sum()), len(pairs))


def test_the_interval_holds_the_truth_95_times_of_100() -> None:
    """Pairs that are well or ill placed: an interval over questions alone would hold it in half of the cases."""
    draw, pairs = np.random.default_rng(0), all_pairs(25)
    i, j = pairs.T.numpy()
    held, alone = [], []
    truth = float(np.mean(draw.normal(size=10**6) + draw.normal(size=10**6) + draw.normal(size=10**6) > 1))
    for _ in range(400):
        shown, asked = draw.normal(size=25), draw.normal(size=25)
        right = torch.tensor(shown[i] + asked[j] + draw.normal(size=len(i)) > 1)
        found = share(right, pairs)
        held.append(found.low <= truth <= found.high)
        alone.append(abs(found.mean - truth) <= 1.96 * math.sqrt(found.mean * (1 - found.mean) / len(i)))
    assert 0.92 < np.mean(held) < 0.985
    assert np.mean(alone) < 0.6


def test_all_right_is_not_certain_and_few_pairs_say_nothing() -> None:
    found = share(torch.ones(20, dtype=torch.bool), all_pairs(5))
    assert found.mean == found.high == 1
    assert 0.3 < found.low < 0.6
    few = share(torch.tensor([True, False]), all_pairs(2))
    assert (few.mean, math.isnan(few.low)) == (0.5, True)
    none = share(torch.ones(0, dtype=torch.bool), torch.ones(0, 2, dtype=torch.int64))
    assert (none.count, math.isnan(none.mean), math.isnan(none.high)) == (0, True, True)


def test_the_plane_is_that_of_principal_components() -> None:
    vectors = drawn(5, 12, 6)
    _, axes = np.linalg.eigh(np.cov(vectors.numpy().T))
    wanted = (vectors.numpy() - vectors.numpy().mean(0)) @ axes[:, [-1, -2]]
    found = plane(vectors).numpy()
    np.testing.assert_allclose(np.abs(found), np.abs(wanted), atol=1e-10)
    assert (found[np.abs(found).argmax(0), [0, 1]] > 0).all()
    np.testing.assert_allclose(plane(vectors * 1.0), plane(vectors), atol=0)
    assert plane(torch.randn(3, 1)).shape == (3, 2)
