"""How far a judge and people agree, what simple rules would have told, and what the place of an answer does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from metaft.evaluation.statistics import mean_interval, wilson
from metaft.preferences.feedback.judge import Verdicts

CHANCE = 0.5


@dataclass(frozen=True)
class Share:
    """How often something is so.

    Args:
        mean: the share, a tie counting half.
        low: the lower end of its 95% interval (Wilson 1927).
        high: the upper end.
        count: how many pairs it is of.
    """

    mean: float
    low: float
    high: float
    count: int

    @property
    def is_chance(self) -> bool:
        """Whether its interval holds one half: as far as one can tell, a coin would do as well."""
        return self.low <= CHANCE <= self.high


def share(margin: Tensor) -> Share:
    """How often a margin is positive.

    Args:
        margin: ``[pairs]``; 0 is a tie and counts half.

    Returns:
        The share.
    """
    right = (margin > 0).double() + 0.5 * (margin == 0).double()
    mean = float(right.mean())
    return Share(mean, *wilson(mean, len(right)), len(right))


@dataclass(frozen=True)
class PlaceBias:
    """What the place of an answer does to a judge.

    Args:
        first: the mean probability of the answer that stands first; 0.5 without a bias.
        first_ci95: half width of its 95% interval over pairs.
        same_place: how often the answer in the same place wins in both orders (Zheng et al. 2023, §3.4; Lee et al.
            2023, appendix B): the judge then sees the place, not the answers.
    """

    first: float
    first_ci95: float
    same_place: float


def place_bias(verdicts: Verdicts) -> PlaceBias:
    """What the place does.

    Args:
        verdicts: of a judge.

    Returns:
        The bias.
    """
    first = verdicts.first_place
    mean, ci95 = mean_interval(first.mean((1, 2)))
    wins = first > CHANCE
    return PlaceBias(mean, ci95, float((wins[..., 0] == wins[..., 1]).double().mean()))


@dataclass(frozen=True)
class Report:
    """What labels by a judge are worth.

    Args:
        pairs: how many were judged.
        agreement: who → how often he takes the answer that people like better: the judge, and simple rules. Empty where
            people say nothing.
        rules: rule → how often the judge takes the answer that it takes.
        place: what the place of an answer does.
        certainty: the mean probability of the answer that the judge takes.
        letters: how probable it is that the judge names one of both answers at all, in the mean.
    """

    pairs: int
    agreement: Mapping[str, Share]
    rules: Mapping[str, Share]
    place: PlaceBias
    certainty: float
    letters: float

    def to_json(self) -> dict[str, object]:
        """As plain numbers."""
        return asdict(self)


JUDGE = "judge"


def report(verdicts: Verdicts, rules: Mapping[str, Tensor], labelled: bool) -> Report:
    """Compare a judge with people and with simple rules.

    Args:
        verdicts: of pairs, the answer that people like better being the first, if they said.
        rules: name → scores of both answers, ``[pairs, 2]``, of which the higher is taken.
        labelled: whether people said.

    Returns:
        The report.
    """
    preference = verdicts.preference
    margins = {name: scores[:, 0] - scores[:, 1] for name, scores in rules.items()}
    judged = preference - CHANCE
    agreement = {JUDGE: judged, **margins} if labelled else {}
    return Report(
        len(preference),
        {name: share(margin) for name, margin in agreement.items()},
        {name: share(judged.sign() * margin.sign()) for name, margin in margins.items()},
        place_bias(verdicts),
        float(torch.maximum(preference, 1 - preference).mean()),
        float(verdicts.letters.mean()),
    )
