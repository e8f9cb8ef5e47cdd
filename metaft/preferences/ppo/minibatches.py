"""Which texts of which rollout an update is made from, as a function of the update's number alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from metaft.errors import MetaftError
from metaft.seeds import require_seed
from metaft.tasks.random import generator
from metaft.validate import require_count


@dataclass(frozen=True)
class MinibatchOrder:
    """Epochs over the texts of a rollout, each in an order of its own.

    Args:
        texts: of a rollout.
        minibatches: into which an epoch is parted; where texts cannot be parted evenly, the first have one more.
        epochs: how often each text is used.
        seed: of the orders.

    Raises:
        MetaftError: if a number does not fit.
    """

    texts: int
    minibatches: int = 4
    epochs: int = 4
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("texts", "minibatches", "epochs"):
            require_count(getattr(self, name), name, 1)
        require_seed(self.seed)
        if self.minibatches > self.texts:
            raise MetaftError(
                f"{self.texts} texts cannot be parted into {self.minibatches} minibatches; take {self.texts} at most"
            )

    @property
    def updates(self) -> int:
        """How many updates are made from one rollout."""
        return self.epochs * self.minibatches

    def place(self, update: int) -> tuple[int, int, int]:
        """Where an update stands.

        Args:
            update: its number in the whole run, from 0.

        Returns:
            The number of its rollout, of the epoch within it, and of the minibatch within that; from 0.
        """
        rollout, within = divmod(update, self.updates)
        return rollout, *divmod(within, self.minibatches)

    def rows(self, update: int) -> Tensor:
        """The texts of an update.

        Args:
            update: its number in the whole run, from 0.

        Returns:
            ``int64 [texts of the minibatch]``, rows of the rollout.
        """
        rollout, epoch, minibatch = self.place(update)
        order = generator(self.seed, "ppo/epoch", rollout * self.epochs + epoch).permutation(self.texts)
        return torch.from_numpy(np.array_split(order, self.minibatches)[minibatch].astype(np.int64))
