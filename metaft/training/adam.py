"""A meta-update after the gradient, as one function of tensors: clipping, Adam and the moving average."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

BETAS, EPSILON = (0.9, 0.999), 1e-8

Params = dict[str, Tensor]
Kept = tuple[Tensor, Tensor, Tensor, Params]
"""Means of gradient and squared gradient, ``[numbers]`` each; what `corrected_rates` gives; the averaged weights."""


@dataclass(frozen=True)
class AdamUpdate:
    """Adam (Kingma & Ba 2015, alg. 1) on all weights as one vector, to be compiled with the gradient.

    Args:
        names: of the weights, in the order of their numbers.
        clip: the largest norm of the gradient, or None.
    """

    names: tuple[str, ...]
    clip: float | None

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
        new_mean = torch.lerp(mean, gradient, 1 - BETAS[0])
        new_square = BETAS[1] * square + (1 - BETAS[1]) * gradient * gradient
        move = numbers[0] * new_mean / (new_square.sqrt() * numbers[1] + EPSILON)
        mean.copy_(torch.where(sound, new_mean, mean))
        square.copy_(torch.where(sound, new_square, square))
        for name, part in zip(self.names, move.split([params[n].numel() for n in self.names]), strict=True):
            weight = params[name]
            weight.copy_(torch.where(sound, weight - part.view_as(weight), weight))
            if name in average:
                average[name].copy_(torch.where(sound, torch.lerp(average[name], weight, numbers[2]), average[name]))
        return told


def corrected_rates(update: int, lr: float, fresh: float, like: Tensor) -> Tensor:
    """The numbers that change from update to update.

    Args:
        update: how many updates this makes, from 1 on.
        lr: the learning rate.
        fresh: the share of the new weights in their moving average.
        like: says where and in what precision.

    Returns:
        ``[3]``: the rate and the factor of the root, both corrected for means that begin at 0, and ``fresh``.
    """
    rate, root = lr / (1 - BETAS[0] ** update), 1 / math.sqrt(1 - BETAS[1] ** update)
    return torch.tensor((rate, root, fresh), dtype=like.dtype, device=like.device)
