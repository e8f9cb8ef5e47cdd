"""Word geometry: answers to a : b = c : ?, how sure their accuracy is, and words in a plane."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from metaft.errors import MetaftError, nearest
from metaft.evaluation.statistics import student_t95, wilson

EPSILON = 1e-3
"""Keeps 3CosMul from dividing by zero (Levy & Goldberg 2014, eq. 5)."""
ROOM, MOST = 2**24, 2**27
"""Scores that are held at once, and cosines."""
ASKED = 3
"""Words of a question that are given; the fourth is asked for."""


def _add(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    return b - a + c


def _multiply(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    a, b, c = ((x + 1) / 2 for x in (a, b, c))
    return b * c / (a + EPSILON)


def _nearest(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    return c


METHODS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "3CosAdd": _add,
    "3CosMul": _multiply,
    "nearest to c": _nearest,
}
"""Method → what makes scores of each word's cosines with a, b and c. The last one heeds no analogy (Linzen 2016)."""


def unit(vectors: Tensor) -> Tensor:
    """Vectors of length 1; one of length 0 stays.

    Args:
        vectors: ``[words, size]``.

    Returns:
        ``[words, size]``.
    """
    return torch.nn.functional.normalize(vectors, dim=-1)


def answers(vectors: Tensor, questions: Tensor, method: str = "3CosAdd") -> Tensor:
    """Answer a : b = c : ? by the word of the highest score; a, b and c are never an answer.

    3CosAdd is eq. 3 of Levy & Goldberg (2014), 3CosMul eq. 5.

    Args:
        vectors: ``[words, size]`` of length 1, see `unit`; all words may be answers.
        questions: ``int64 [questions, 3]``, rows of ``vectors``; of further columns nothing is looked at.
        method: a name of `METHODS`.

    Returns:
        ``int64 [questions]``: rows of ``vectors``.

    Raises:
        MetaftError: for an unknown method, or fewer than four words.
    """
    if method not in METHODS:
        raise MetaftError(f"unknown method {method!r}{nearest(method, METHODS)}")
    if len(vectors) <= ASKED:
        raise MetaftError(f"an analogy needs at least four words, not {len(vectors)}")
    given = questions[:, :ASKED]
    # Questions repeat words: a section's cosines are one product of its own words with all.
    words, place = given.unique(return_inverse=True)
    if len(words) * len(vectors) > MOST and len(given) > 1:
        return torch.cat([answers(vectors, half, method) for half in given.chunk(2)])
    cosines = vectors[words] @ vectors.T
    found = [torch.empty(0, dtype=torch.int64)]
    for some, own in zip(*(x.split(max(1, ROOM // len(vectors))) for x in (place, given)), strict=True):
        scores = METHODS[method](*(cosines[some[:, number]] for number in range(ASKED)))
        found.append(scores.scatter(1, own, -math.inf).argmax(1))
    return torch.cat(found)


@dataclass(frozen=True)
class Share:
    """A share of questions, with its 95% interval.

    Args:
        right: how many were answered rightly.
        count: of how many.
        low: lower end; NaN where there are too few pairs to say.
        high: upper end.
    """

    right: int
    count: int
    low: float
    high: float

    @property
    def mean(self) -> float:
        """The share; NaN of none."""
        return self.right / self.count if self.count else math.nan


def share(right: Tensor, pairs: Tensor) -> Share:
    """The share of right answers, and how sure it is for other pairs of the same kind.

    Questions are made of pairs of words, each with each, so that a pair which is well or ill placed shows in many of
    them: 506 questions of 23 pairs say less than 506 independent ones. Their variance is therefore that of the
    jackknife that leaves out one pair with all of its questions (Efron & Stein 1981). The interval is Wilson's, for as
    many independent questions as have that variance (Korn & Graubard 1998), with Student's t of the pairs less one;
    where all are right, or none, for as many as there are pairs.

    Args:
        right: ``bool [questions]``.
        pairs: ``int64 [questions, 2]``: the numbers of the two pairs of each.

    Returns:
        The share.
    """
    count, hits = len(right), int(right.sum())
    names, place = pairs.unique(return_inverse=True)
    if len(names) < 3:
        return Share(hits, count, math.nan, math.nan)
    # A question of one pair twice goes with it once.
    second = (place[:, 0] != place[:, 1]).double()
    y = right.double()
    total = lambda x: torch.zeros(len(names), dtype=torch.float64).index_add(0, place[:, 0], x).index_add(
        0, place[:, 1], x * second
    )  # fmt: skip
    left = count - total(torch.ones_like(y))
    rest = (hits - total(y))[left > 0] / left[left > 0]
    if len(rest) < 3:
        return Share(hits, count, math.nan, math.nan)
    variance = float((rest - rest.mean()).square().sum()) * (len(rest) - 1) / len(rest)
    mean = hits / count
    independent = mean * (1 - mean) / variance if variance > 0 and 0 < mean < 1 else len(names)
    return Share(hits, count, *wilson(mean, min(independent, count), student_t95(len(rest) - 1)))


def guessing(questions: Tensor, kinds: Tensor, words: int) -> tuple[float, float]:
    """The expected accuracy of guesses.

    Args:
        questions: ``int64 [questions, 4]``.
        kinds: ``int64 [questions]``: the section of each.
        words: how many may be answers.

    Returns:
        Guessing among all words but the three of the question; and among the answers of its section but those three, as
        one does who knows of which kind the answer is. NaN where there are no questions.
    """
    asked = questions[:, ASKED]
    given = questions[:, :ASKED].sort(1).values
    fresh = torch.nn.functional.pad(given[:, 1:] != given[:, :-1], (1, 0), value=True)
    choices = torch.empty(len(questions), dtype=torch.int64)
    for kind in kinds.unique():
        own = kinds == kind
        answers_of_kind = asked[own].unique()
        choices[own] = len(answers_of_kind) - (fresh[own] & torch.isin(given[own], answers_of_kind)).sum(1)
    possible = (given != asked[:, None]).all(1).double()
    mean = lambda among: float((possible / among.clamp(min=1)).mean())
    return mean(words - fresh.sum(1)), mean(choices)


def plane(vectors: Tensor) -> Tensor:
    """Vectors in the plane in which they vary most (principal components).

    Args:
        vectors: ``[words, size]``.

    Returns:
        ``[words, 2]``, centred; each axis turned so that its largest entry is positive.
    """
    centred = vectors - vectors.mean(0)
    _, _, axes = torch.linalg.svd(centred, full_matrices=False)
    found = centred @ axes[:2].T
    found = torch.nn.functional.pad(found, (0, 2 - found.shape[1]))
    largest = found.gather(0, found.abs().argmax(0, keepdim=True))
    return found * torch.where(largest < 0, -1.0, 1.0)
