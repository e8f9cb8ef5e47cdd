"""What the inner loop descends: the task loss, alone or held near the start."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from metaft.data.texts.labelled_texts import PADDING
from metaft.errors import MetaftError
from metaft.inner.rules import Params
from metaft.tasks.batch import IGNORE
from metaft.validate import require_positive

Loss = Callable[[Params, Tensor, Tensor], Tensor]
Predict = Callable[[Params, Tensor], Tensor]


class Objective(Protocol):
    """A scalar to descend on one task's support set.

    ``uses_start`` says whether it depends on where the inner loop began, as well as on where it stands. One that passes
    the examples through the network itself, beside the loss, has ``reads_inputs = True``.
    """

    uses_start: bool

    def __call__(self, loss: Loss, params: Params, start: Params, x: Tensor, y: Tensor) -> Tensor:
        """The objective at ``params``, in a loop that began at ``start`` (both whole dictionaries)."""
        ...


@dataclass(frozen=True)
class TaskLoss:
    """The task's loss and nothing else."""

    uses_start = False

    def __call__(self, loss: Loss, params: Params, start: Params, x: Tensor, y: Tensor) -> Tensor:
        """L(θ)."""
        return loss(params, x, y)


@dataclass(frozen=True)
class L2ToStart:
    """L(θ) + λ/2 ‖θ − θ_0‖² (L2-SP: Xuhong et al. 2018, eq. 3; iMAML: Rajeswaran et al. 2019, eq. 3).

    Args:
        weight: λ > 0.

    Raises:
        MetaftError: if λ is not a positive finite number.
    """

    weight: float = 1.0
    uses_start = True

    def __post_init__(self) -> None:
        require_positive(self.weight, "the objective's weight")

    def __call__(self, loss: Loss, params: Params, start: Params, x: Tensor, y: Tensor) -> Tensor:
        """Summed over all parameters; those that do not adapt add nothing."""
        distance = [(params[name] - start[name]).square().sum() for name in params]
        return loss(params, x, y) + 0.5 * self.weight * torch.stack(distance).sum()


@dataclass(frozen=True)
class L2AfterSteps(L2ToStart):
    """L(θ) in every step, and after the last one a step down λ/2 ‖θ − θ_0‖² alone, in meta-training only.

    This is how iMAML's authors implement their proximal problem (github.com/aravindr93/imaml_dev,
    examples/omniglot_implicit_maml.py). The pull is part of estimator "implicit", and no other knows of it.

    Args:
        weight: λ > 0.

    Raises:
        MetaftError: if λ is not a positive finite number.
    """

    uses_start = False

    def __call__(self, loss: Loss, params: Params, start: Params, x: Tensor, y: Tensor) -> Tensor:
        """L(θ)."""
        return loss(params, x, y)


@dataclass(frozen=True)
class KLToStart:
    """L(θ) + λ KL(p_{θ_0}(·|x) ‖ p_θ(·|x)), averaged over the support set (Yu et al. 2013, eq. 4).

    The scores the start gives are the teacher's; gradients flow into it too, as θ_0 is what is meta-trained.

    Args:
        weight: λ > 0.
        predict: ``predict(params, x) → scores [examples, ways]``.

    Raises:
        MetaftError: if λ is not a positive finite number.
    """

    weight: float = 1.0
    predict: Predict | None = None
    uses_start = True
    reads_inputs = True

    def __post_init__(self) -> None:
        require_positive(self.weight, "the objective's weight")

    def __call__(self, loss: Loss, params: Params, start: Params, x: Tensor, y: Tensor) -> Tensor:
        """Summed over classes, averaged over examples that are not padding."""
        if self.predict is None:
            raise MetaftError("objective 'kl' compares answers: give KLToStart predict(params, x)")
        before = F.log_softmax(self.predict(start, x), dim=-1)
        now = F.log_softmax(self.predict(params, x), dim=-1)
        counted = y != IGNORE
        divergence = (before.exp() * (before - now)).sum(-1).where(counted, 0).sum() / counted.sum()
        return loss(params, x, y) + self.weight * divergence


@dataclass(frozen=True)
class KLOfWords:
    """L(θ) + λ KL(p_{θ_0}(w|text) ‖ p_θ(w|text)) over words w, averaged over the places of the support set's texts.

    As Yu et al. 2013, eq. 4, of what a language model says instead of a classifier: of a causal one the distribution of
    the next word behind every prefix of a text, of a masked one that of the word at every place. Gradients flow into
    the start too.

    Args:
        weight: λ > 0.
        words: ``words(params, ids) → scores [examples, places, vocabulary]``.

    Raises:
        MetaftError: if λ is not a positive finite number, or the network says no words.
    """

    weight: float = 1.0
    words: Predict | None = None
    uses_start = True
    reads_inputs = True

    def __post_init__(self) -> None:
        require_positive(self.weight, "the objective's weight")
        if self.words is None:
            raise MetaftError(
                "objective 'kl-words' needs a network that says words: a transformer, stories260k, hf:smollm2 or a run "
                "of a language model"
            )

    def __call__(self, loss: Loss, params: Params, start: Params, x: Tensor, y: Tensor) -> Tensor:
        """Summed over words, averaged over places that are not padding."""
        assert self.words is not None
        before = F.log_softmax(self.words(start, x), dim=-1)
        now = F.log_softmax(self.words(params, x), dim=-1)
        counted = (x != PADDING) & (y != IGNORE).unsqueeze(-1)
        divergence = (before.exp() * (before - now)).sum(-1).where(counted, 0).sum() / counted.sum()
        return loss(params, x, y) + self.weight * divergence
