"""What is timed: one MAML meta-gradient, stated so that every library can compute it its own way."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from metaft.tasks.batch import TaskBatch
from metaft.tasks.family import Kind

Params = dict[str, Tensor]
Compute = Callable[[], Params]
FEW = 15
"""Queries that are enough to tell gradients apart: three a class."""


@dataclass(frozen=True)
class Problem:
    """K steps of SGD on every support set, the mean query loss, its gradient towards the start.

    Args:
        network: an ordinary module; every library gets a copy of its own.
        batch: the tasks.
        kind: "classification" (mean cross-entropy) or "regression" (mean squared error).
        lr: the inner rate.
        steps: K.
        first_order: take the inner gradients for constants.
    """

    network: nn.Module
    batch: TaskBatch
    kind: Kind
    lr: float
    steps: int
    first_order: bool = False

    @property
    def loss(self) -> Callable[[Tensor, Tensor], Tensor]:
        """``loss(prediction, target) → scalar``, a mean over one task's examples."""
        return F.cross_entropy if self.kind == "classification" else F.mse_loss

    def each(self) -> Iterator[tuple[Tensor, ...]]:
        """The tasks one by one: support examples and labels, query examples and labels."""
        return zip(*self.batch.tensors(), strict=True)

    @property
    def images(self) -> bool:
        """Whether examples are images."""
        return self.batch.query_x.dim() == 5

    @property
    def attends(self) -> bool:
        """Whether there is torch's attention in the network."""
        return any(isinstance(module, nn.MultiheadAttention) for module in self.network.modules())

    def differentiable_twice(self) -> AbstractContextManager[None]:
        """Where plain torch has to compute this: its fused attention and recurrence have no second derivative."""
        if self.first_order:
            return nullcontext()
        if any(isinstance(module, nn.RNNBase) for module in self.network.modules()):
            return torch.backends.mkldnn.flags(enabled=False)
        return sdpa_kernel(SDPBackend.MATH) if self.attends else nullcontext()  # pytorch#116350

    def model(self) -> nn.Module:
        """A copy of the network in training mode: batch norm uses the batch it is given."""
        return copy.deepcopy(self.network).train()

    def small(self, tasks: int = 2) -> Problem:
        """The same problem in float64 with few tasks, at most 15 queries each, away from the initialisation.

        Freshly drawn weights can be so small that second derivatives hardly count; noise makes them count, so
        that a first-order answer could not pass for an exact one.
        """
        network = copy.deepcopy(self.network).double()
        noise = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for p in network.parameters():
                p.add_(0.1 * torch.randn(p.shape, generator=noise, dtype=p.dtype))
        support_x, support_y, query_x, query_y = self.batch[:tasks].tensors()
        # With all of them, a ResNet-12 takes some peers more than 24 GiB.
        few = (support_x, support_y, query_x[:, :FEW], query_y[:, :FEW])
        wide = (t.double() if t.is_floating_point() else t for t in few)
        return replace(self, network=network, batch=TaskBatch(*wide))


def random_episodes(
    tasks: int, ways: int, shots: int, queries: int, shape: tuple[int, ...], vocabulary: int | None = None,
    seed: int = 0,
) -> TaskBatch:  # fmt: skip
    """Episodes of noise, where only shapes matter.

    Args:
        tasks: how many.
        ways: classes a task.
        shots: support examples a class.
        queries: query examples a class.
        shape: of one example.
        vocabulary: how many tokens there are, for sequences of them; None for images.
        seed: of the noise.

    Returns:
        The batch; images uniform in [0, 1], or tokens, ``int64``.
    """
    noise = torch.Generator().manual_seed(seed)
    draw = partial(torch.rand if vocabulary is None else partial(torch.randint, vocabulary), generator=noise)
    part = lambda examples: (draw((tasks, ways * examples, *shape)), torch.arange(ways).repeat(tasks, examples))

    return TaskBatch(*part(shots), *part(queries))
