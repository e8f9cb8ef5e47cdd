"""Adam (Kingma & Ba 2015), and a whole update by it as one function of tensors: clipping, Adam, the moving average."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.optim.adam import adam

from metaft.training.optimisers.optimiser import OuterOptimiser, State
from metaft.validate import require_fraction, require_positive

Params = dict[str, Tensor]
Kept = tuple[Tensor, Tensor, Tensor, Params]
"""Means of gradient and squared gradient, ``[numbers]`` each; what `Adam.corrected_rates` gives; averaged weights."""


@dataclass(frozen=True, kw_only=True)
class Adam(OuterOptimiser):
    """Means of the gradient and of its square, corrected for their start at 0 (Kingma & Ba 2015, alg. 1).

    Args:
        lr: the learning rate at the start.
        schedule: its course over the run: constant, cosine or linear, down to 0.
        warmup: the fraction of the run in which the rate rises from 0.
        beta1: decay of the mean of gradients.
        beta2: decay of the mean of squared gradients.
        epsilon: stands beside the root of the mean of squares.

    Raises:
        MetaftError: if a decay is not in [0, 1), or ``epsilon`` not positive.
    """

    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8

    def __post_init__(self) -> None:
        require_fraction(self.beta1, "beta1")
        require_fraction(self.beta2, "beta2")
        require_positive(self.epsilon, "epsilon")

    def start(self, weight: Tensor) -> State:
        """The number of updates, and the means of gradient and squared gradient."""
        step = torch.zeros((), dtype=torch.float32, device=weight.device)
        return {"step": step, "exp_avg": torch.zeros_like(weight), "exp_avg_sq": torch.zeros_like(weight)}

    def step(self, weights: Sequence[Tensor], grads: Sequence[Tensor], kept: Sequence[State], lr: float) -> None:
        """One update in place."""
        # The function rather than the class torch.optim.Adam, whose hooks take longer than a small network's update.
        adam(
            list(weights),
            list(grads),
            [one["exp_avg"] for one in kept],
            [one["exp_avg_sq"] for one in kept],
            [],
            [one["step"] for one in kept],
            fused=True,
            amsgrad=False,
            beta1=self.beta1,
            beta2=self.beta2,
            lr=lr,
            weight_decay=0.0,
            eps=self.epsilon,
            maximize=False,
        )

    def compiled(self, names: tuple[str, ...], clip: float | None) -> AdamUpdate:
        """The same as one function of tensors."""
        return AdamUpdate(names, clip, self)

    def corrected_rates(self, update: int, lr: float, fresh: float, like: Tensor) -> Tensor:
        """The numbers that change from update to update.

        Args:
            update: how many updates this makes, from 1 on.
            lr: the learning rate.
            fresh: the share of the new weights in their moving average.
            like: says where and in what precision.

        Returns:
            ``[3]``: the rate and the factor of the root, both corrected for means that begin at 0, and ``fresh``.
        """
        rate, root = lr / (1 - self.beta1**update), 1 / math.sqrt(1 - self.beta2**update)
        return torch.tensor((rate, root, fresh), dtype=like.dtype, device=like.device)


@dataclass(frozen=True)
class AdamUpdate:
    """A whole update by Adam on all weights as one vector, to be compiled with the gradient.

    Args:
        names: of the weights, in the order of their numbers.
        clip: the largest norm of the gradient, or None.
        adam: the optimiser.
    """

    names: tuple[str, ...]
    clip: float | None
    adam: Adam = Adam()

    def __call__(self, params: Params, loss: Tensor, grads: Params, kept: Kept) -> Tensor:
        """Update weights, means and average in place; leave all as it is where loss or gradient are not finite.

        Args:
            params: the weights; those not named stay as they are.
            loss: of this batch, a scalar.
            grads: by name.
            kept: what is carried from update to update.

        Returns:
            ``[loss, norm of the gradient before clipping]``.
        """
        mean, square, numbers, average = kept
        gradient = torch.cat([grads[name].reshape(-1) for name in self.names])
        norm = torch.linalg.vector_norm(gradient)
        told = torch.stack((loss, norm))
        sound = told.isfinite().all()
        if self.clip is not None:
            gradient = gradient * torch.where(norm > self.clip, self.clip / norm, torch.ones_like(norm))
        beta1, beta2 = self.adam.beta1, self.adam.beta2
        new_mean = torch.lerp(mean, gradient, 1 - beta1)
        new_square = beta2 * square + (1 - beta2) * gradient * gradient
        move = numbers[0] * new_mean / (new_square.sqrt() * numbers[1] + self.adam.epsilon)
        mean.copy_(torch.where(sound, new_mean, mean))
        square.copy_(torch.where(sound, new_square, square))
        for name, part in zip(self.names, move.split([params[n].numel() for n in self.names]), strict=True):
            weight = params[name]
            weight.copy_(torch.where(sound, weight - part.view_as(weight), weight))
            if name in average:
                average[name].copy_(torch.where(sound, torch.lerp(average[name], weight, numbers[2]), average[name]))
        return told
