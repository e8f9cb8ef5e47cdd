"""The examples behind which the rest of the support set is answered best."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from metaft.prompting.choices.choice import Candidates, Chooser, Places, subsets
from metaft.validate import require_count


@dataclass(frozen=True)
class Validation:
    """Of some draws of examples, in order, that behind which the rest of the support set has the least cross-entropy.

    Prompts are chosen by cross-validation as in Perez et al. 2021; here their examples and orders are (Lu et al. 2022).
    Where all examples are shown, each is answered behind the others in that order (leave-one-out), so that orders alone
    are chosen. No query is looked at.

    Args:
        count: of examples.
        per_class: whether that many of each class are taken.
        tries: how many draws are held against each other.
    """

    count: int = 4
    per_class: bool = False
    tries: int = 8
    own: ClassVar[bool] = False

    def __post_init__(self) -> None:
        require_count(self.count, "count of choice validation", 1)
        require_count(self.tries, "tries of choice validation", 1)

    def weights(self) -> dict[str, Tensor]:
        """None."""
        return {}

    def chooser(self, candidates: Candidates) -> Chooser:
        """As `Choice`."""
        candidates.require(self.count, self.per_class, "validation")
        tried = subsets(candidates, self.tries, self.count, self.per_class)
        losses = [_loss(candidates, places) for places in tried] if len(tried) > 1 else [0.0]
        best = tried[losses.index(min(losses))]
        return lambda query: best


def _loss(candidates: Candidates, shown: Places) -> float:
    """The mean cross-entropy of the examples that are not shown; if there are none, of each behind the others."""
    rest = [place for place in range(len(candidates.texts)) if place not in shown]
    if rest:
        asked, found = rest, candidates.ask(shown, rest)
    else:
        asked = list(shown)
        found = torch.cat([candidates.ask([other for other in shown if other != place], [place]) for place in shown])
    labels = torch.tensor([candidates.labels[place] for place in asked])
    return float(torch.nn.functional.cross_entropy(found, labels))
