"""Controls that tell why distillation helps (Furlanello et al. 2018, §3.2): what is left without a part of it.

Both turn a teacher's scores into something poorer. Permuted scores keep how sure the teacher is and lose *which* other
classes an example is like; confidence weights keep how sure it is of each example and nothing else.

Furlanello, Lipton, Tschannen, Itti, Anandkumar: Born-again neural networks, ICML 2018.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from metaft.tasks.answers import probabilities


def permuted(teacher_scores: Tensor, rows: Tensor, seed: int = 0) -> Tensor:
    """DKPP: permute all but the largest score of each example (eqs. 9–10), by a seed and the example's own number.

    An example keeps its permutation through all epochs and in every minibatch. Scores permuted are probabilities
    permuted, at any temperature.

    Args:
        teacher_scores: ``[examples, classes]``.
        rows: ``int64 [examples]``, the examples' numbers in their data set.
        seed: of the permutations.

    Returns:
        Like ``teacher_scores``; the largest stays in its place.
    """
    classes = teacher_scores.shape[1]
    top = teacher_scores.argmax(1, keepdim=True)
    keys = _keys(rows, classes, seed).to(teacher_scores.device).scatter(1, top, -1)
    others = torch.ones_like(keys).scatter(1, top, 0)
    # Both orders begin with the largest: the others go from their natural order into the keys' order.
    taken, given = others.argsort(dim=1, stable=True), keys.argsort(dim=1)
    return torch.empty_like(teacher_scores).scatter(1, given, teacher_scores.gather(1, taken))


def confidence_weights(teacher_scores: Tensor) -> Tensor:
    """CWTM: weigh each example by the teacher's largest probability, divided by their sum in the minibatch (eq. 8).

    The loss is the weighted *sum* of the cross-entropies to the labels; the paper's temperature is 1.

    Args:
        teacher_scores: ``[examples, classes]``.

    Returns:
        ``[examples]``, positive, adding up to 1.
    """
    confidence = probabilities(teacher_scores).amax(1)
    return confidence / confidence.sum()


def _keys(rows: Tensor, classes: int, seed: int) -> Tensor:
    """A random whole number from 0 for each example and class, ``int64 [examples, classes]``: pure in the three.

    Computed from the example's number, so that no table of all examples × classes has to be kept.
    """
    place = (rows.cpu().unsqueeze(1) * classes + torch.arange(classes)).numpy().astype(np.uint64)
    mixed = _mixed(place + _mixed(np.array([seed], dtype=np.uint64)))
    return torch.from_numpy((mixed >> np.uint64(1)).astype(np.int64))


def _mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """SplitMix64's next number after each state (Steele, Lea, Flood 2014)."""
    z = values + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
