"""Losses, modules and functions, as what a task descends; cross-entropy and squared error inside learners too."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.any_module.case import Call, Case, Draw, integers, normal, signs, uniform


def network(outputs: int) -> Callable[[], nn.Module]:
    return lambda: nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, outputs))


def loss_of(
    module: str | None,
    function: str | None,
    outputs: int,
    y: Draw,
    ready: Callable = lambda o: o,
    variant: str = "",
    aim: Callable = lambda y: y,
    **options: Any,
) -> list[Case]:
    """The module's and the function's case of one loss: ``loss(ready(answers), aim(y))``."""
    cases = []
    for of, make in ((module, lambda: getattr(nn, module)(**options)), (function, lambda: _with(function, options))):
        if of is None:
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of NLLLoss2d, which is another name of NLLLoss
            loss = make()
        name = of if of is module else f"F.{of}"
        given = lambda call, x, y, loss=loss: loss(ready(call(x)), aim(y))
        cases.append(Case(name, network(outputs), variant, y=y, loss=given, kind=None))
    return cases


def pair_loss(module: str, function: str, parts: int, y: Draw | None, variant: str = "", **options: Any) -> list[Case]:
    """Losses that compare several outputs with each other, of 4 numbers each, and perhaps with a target."""

    def case(of: str, loss: Callable) -> Case:
        def given(call: Call, x: Tensor, target: Tensor) -> Tensor:
            outputs = call(x).chunk(parts, dim=1)
            return loss(*outputs, *(() if y is None else (target,)))

        return Case(of, network(4 * parts), variant, y=y or normal(1), loss=given, kind=None)

    return [case(module, getattr(nn, module)(**options)), case(f"F.{function}", _with(function, options))]


def _with(function: str, options: dict[str, Any]) -> Callable:
    return lambda *args: getattr(F, function)(*args, **options)


def ctc(function: bool = False) -> Callable[[Call, Tensor, Tensor], Tensor]:
    """Words of 2 letters in sequences of 4 steps, over 3 letters and the blank."""

    def loss(call: Call, x: Tensor, y: Tensor) -> Tensor:
        scores = call(x).view(len(x), 4, 4).log_softmax(-1).transpose(0, 1)
        lengths = torch.full((len(x),), 4), torch.full((len(x),), 2)
        return F.ctc_loss(scores, y, *lengths) if function else nn.CTCLoss()(scores, y, *lengths)

    return loss


class Adaptive(nn.Module):
    """``AdaptiveLogSoftmaxWithLoss`` on a hidden layer: with labels it gives the loss, without them the scores."""

    def __init__(self, **options) -> None:
        super().__init__()
        self.before = nn.Linear(3, 16)
        self.layer = nn.AdaptiveLogSoftmaxWithLoss(16, 6, cutoffs=[2, 4], **options)

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        hidden = self.before(x).tanh()
        return self.layer.log_prob(hidden) if y is None else self.layer(hidden, y).loss


class Projected(nn.Module):
    """``LinearCrossEntropyLoss``, which holds the last layer and the loss."""

    def __init__(self) -> None:
        super().__init__()
        self.before, self.layer = nn.Linear(3, 4), nn.LinearCrossEntropyLoss(4, 3)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self.layer(self.before(x).tanh(), y)


class ProjectedByFunction(nn.Module):
    """The same by the function."""

    def __init__(self) -> None:
        super().__init__()
        self.before, self.weight = nn.Linear(3, 4), nn.Parameter(torch.randn(3, 4))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return F.linear_cross_entropy(self.before(x).tanh(), self.weight, y)


labels = integers(0, 3)
some_labels = lambda examples, g: integers(0, 3)(examples, g).where(torch.arange(examples) % 3 != 2, -100)
several = lambda examples, g: integers(0, 3, 3)(examples, g).where(torch.arange(3) < 2, -1)
positive = lambda o: F.softplus(o) + 0.1
log_probabilities = lambda o: o.log_softmax(-1)
probabilities = lambda y: y.softmax(-1)
weights = torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64)
variance = lambda name: lambda call, x, y: name(call(x)[:, :1], y, F.softplus(call(x)[:, 1:]))
given_labels = lambda call, x, y: call(x, y)

CASES: list[Case] = [
    *loss_of("MSELoss", "mse_loss", 2, normal(2)),
    *loss_of("MSELoss", "mse_loss", 2, normal(2), variant="sum", reduction="sum"),
    *loss_of("L1Loss", "l1_loss", 2, normal(2)),
    *loss_of("HuberLoss", "huber_loss", 2, normal(2), delta=0.7),
    *loss_of("SmoothL1Loss", "smooth_l1_loss", 2, normal(2), beta=0.7),
    *loss_of("CrossEntropyLoss", "cross_entropy", 3, labels),
    *loss_of("CrossEntropyLoss", "cross_entropy", 3, some_labels, variant="some left out"),
    *loss_of(
        "CrossEntropyLoss", "cross_entropy", 3, labels, variant="smoothed, weighed", label_smoothing=0.1, weight=weights
    ),
    *loss_of("CrossEntropyLoss", "cross_entropy", 3, normal(3), aim=probabilities, variant="soft labels"),
    *loss_of("CrossEntropyLoss", "cross_entropy", 6, integers(0, 3, 2), lambda o: o.view(-1, 3, 2), "in space"),
    *loss_of("NLLLoss", "nll_loss", 3, labels, log_probabilities),
    *loss_of("NLLLoss", "nll_loss", 3, some_labels, log_probabilities, "some left out, weighed", weight=weights),
    *loss_of("NLLLoss", "nll_loss", 12, integers(0, 3, 2, 2), lambda o: o.view(-1, 3, 2, 2).log_softmax(1), "in space"),
    *loss_of("NLLLoss2d", None, 12, integers(0, 3, 2, 2), lambda o: o.view(-1, 3, 2, 2).log_softmax(1)),
    *loss_of("KLDivLoss", "kl_div", 3, normal(3), log_probabilities, aim=probabilities, reduction="batchmean"),
    *loss_of(
        "KLDivLoss",
        "kl_div",
        3,
        normal(3),
        log_probabilities,
        "targets in logarithms",
        aim=log_probabilities,
        log_target=True,
        reduction="sum",
    ),
    *loss_of("BCELoss", "binary_cross_entropy", 2, uniform(2), torch.sigmoid),
    *loss_of("BCEWithLogitsLoss", "binary_cross_entropy_with_logits", 2, uniform(2)),
    *loss_of(
        "BCEWithLogitsLoss",
        "binary_cross_entropy_with_logits",
        3,
        uniform(3),
        variant="weighed",
        weight=weights,
        pos_weight=weights,
    ),
    *loss_of("PoissonNLLLoss", "poisson_nll_loss", 2, uniform(2)),
    *loss_of(
        "PoissonNLLLoss", "poisson_nll_loss", 2, integers(0, 5, 2), positive, "Stirling", log_input=False, full=True
    ),
    *loss_of("HingeEmbeddingLoss", "hinge_embedding_loss", 2, signs(2)),
    *loss_of("SoftMarginLoss", "soft_margin_loss", 2, signs(2)),
    *loss_of("MultiLabelMarginLoss", "multilabel_margin_loss", 3, several),
    *loss_of("MultiLabelSoftMarginLoss", "multilabel_soft_margin_loss", 3, uniform(3), aim=torch.round),
    *loss_of("MultiMarginLoss", "multi_margin_loss", 3, labels),
    *loss_of("MultiMarginLoss", "multi_margin_loss", 3, labels, variant="p 2, weighed", p=2, weight=weights),
    *pair_loss("CosineEmbeddingLoss", "cosine_embedding_loss", 2, signs(), margin=0.1),
    *pair_loss("MarginRankingLoss", "margin_ranking_loss", 2, signs(4), margin=0.1),
    *pair_loss("TripletMarginLoss", "triplet_margin_loss", 3, None),
    *pair_loss("TripletMarginLoss", "triplet_margin_loss", 3, None, "swapped, p 1", swap=True, p=1),
    *pair_loss("TripletMarginWithDistanceLoss", "triplet_margin_with_distance_loss", 3, None),
    *pair_loss(
        "TripletMarginWithDistanceLoss",
        "triplet_margin_with_distance_loss",
        3,
        None,
        "a distance of one's own",
        distance_function=lambda a, b: 1 - F.cosine_similarity(a, b),
        swap=True,
    ),
    Case("GaussianNLLLoss", network(2), y=normal(1), loss=variance(nn.GaussianNLLLoss(full=True)), kind=None),
    Case("F.gaussian_nll_loss", network(2), y=normal(1), loss=variance(F.gaussian_nll_loss), kind=None),
    Case("CTCLoss", network(16), y=integers(1, 4, 2), loss=ctc(), kind=None),
    Case("F.ctc_loss", network(16), y=integers(1, 4, 2), loss=ctc(True), kind=None),
    Case("AdaptiveLogSoftmaxWithLoss", Adaptive, y=integers(0, 6), loss=given_labels, kind=None),
    Case(
        "AdaptiveLogSoftmaxWithLoss",
        lambda: Adaptive(div_value=2.0, head_bias=True),
        "bias",
        y=integers(0, 6),
        loss=given_labels,
        kind=None,
    ),
    Case(
        "AdaptiveLogSoftmaxWithLoss",
        Adaptive,
        "its scores",
        y=integers(0, 6),
        kind="classification",
        loss=lambda call, x, y: F.cross_entropy(call(x), y),
    ),
    Case("LinearCrossEntropyLoss", Projected, y=labels, loss=given_labels, kind=None),
    Case("F.linear_cross_entropy", ProjectedByFunction, y=labels, loss=given_labels, kind=None),
    Case(
        "CrossEntropyLoss",
        network(3),
        "in a learner",
        y=labels,
        kind="classification",
        loss=lambda call, x, y: F.cross_entropy(call(x), y),
    ),
]
