"""From the examples of tasks to their features, in a forward pass that can be trained through."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.func import functional_call

from metaft.data.layout import likeliest
from metaft.inner.batching import channels_last, over_tasks
from metaft.models.functional import BatchNormMode, Functional, Params
from metaft.models.heads import without_head

MOST_VALUES = 2**18
"""Input values in one forward pass on a CPU where nothing is trained: it bounds the memory of activations."""


class TaskFeatures:
    """The features of support and query sets, by a network without its head.

    The mode of batch norm says which examples one is normalised by:

    - "running": in training by the support and query set of its own task, in evaluation by the running statistics
      gathered meanwhile. Scores are inductive. This is what the authors' code of prototypical networks and of R2-D2
      does, which passes both sets of an episode through the network as one batch.
    - "transductive": by the support and query set of its own task, in evaluation too, where the answer to a query
      then depends on the other queries.
    - "inductive": by its task's support set alone, in training and in evaluation.

    An instance is not safe to share between threads.

    Args:
        model: any module whose last block is a linear head; copied, and the head left out.
        batch_norm: the mode.

    Raises:
        MetaftError: if the mode is unknown, the network has no linear head, or no running statistics in running mode.
    """

    def __init__(self, model: nn.Module, batch_norm: BatchNormMode = "running") -> None:
        self.module = without_head(model)
        self.by_task = Functional(self.module, batch_norm)
        self.in_training = self.by_task.training()
        self.trains = tuple(n for n in self.by_task.params() if n not in self.by_task.frozen)

    @property
    def mode(self) -> str:
        """The mode of batch norm; "none" for a network without."""
        return self.by_task.batch_norm if self.by_task.normalises else "none"

    def params(self) -> Params:
        """A fresh copy of the network's parameters and of its running statistics, which only running mode moves."""
        statistics = {n: b.detach().clone() for n, b in self.module.named_buffers() if b.is_floating_point()}
        return self.by_task.params() | statistics

    def train(self, params: Params, x: Tensor, support: int, keys: Tensor | None = None) -> tuple[Tensor, Params]:
        """Embed tasks in training.

        Args:
            params: as from ``params``.
            x: ``[tasks, examples, *input]``, the support set first; no padding.
            support: how many of a task's examples are its support set.
            keys: ``int64 [tasks]``, of the random layers' numbers.

        Returns:
            ``[tasks, examples, width]``, and in running mode what each task's pass makes of the running statistics,
            ``[tasks, channels]`` each.
        """
        params, x = _laid_out(params, x)
        network = {name: params[name] for name in self.by_task.params()}
        if self.mode != "running":
            first = support if self.mode == "inductive" else None
            return over_tasks(lambda x: self.in_training(network, x, first), (0,), keys)(x), {}
        names = [name for name in params if name not in network]
        self.module.train()

        def one(x: Tensor, *statistics: Tensor) -> tuple[Tensor, Params]:
            moved = {name: value.clone() for name, value in zip(names, statistics, strict=True)}
            return functional_call(self.module, network | moved, (x,)), moved

        statistics = [params[name].detach().expand(len(x), *params[name].shape) for name in names]
        found, moved = over_tasks(one, (0,) * (1 + len(names)), keys, moving=True)(x, *statistics)
        return found, moved

    def __call__(self, params: Params, x: Tensor, support: int, at_once: bool = False) -> Tensor:
        """Embed tasks as in evaluation, in the declared mode.

        Args:
            params: as from ``params``.
            x: ``[tasks, examples, *input]``, the support set first; no padding.
            support: how many of a task's examples are its support set.
            at_once: all in one forward pass, whatever memory it takes.

        Returns:
            ``[tasks, examples, width]``.
        """
        params, x = _laid_out(params, x)
        if self.mode not in ("running", "none"):
            network = {name: params[name] for name in self.by_task.params()}
            first = support if self.mode == "inductive" else None
            embedded: Tensor = over_tasks(lambda x: self.by_task(network, x, first), (0,))(x)
            return embedded
        flat = x.flatten(0, 1)
        self.module.eval()
        if at_once or torch.is_grad_enabled() or x.device.type != "cpu":
            whole: Tensor = functional_call(self.module, params, (flat,))
            return whole.unflatten(0, x.shape[:2])
        size = max(1, MOST_VALUES // max(flat[0].numel(), 1))
        found = [functional_call(self.module, params, (part,)) for part in flat.split(size)]
        return torch.cat(found).unflatten(0, x.shape[:2])


def _laid_out(params: Params, x: Tensor) -> tuple[Params, Tensor]:
    """Equal ones; images and convolutions with their channels last in memory, if examples are images on a CPU."""
    if likeliest(x) != "images" or x.device.type != "cpu" or x.dim() != 5:
        return params, x
    return {name: channels_last(p) if p.dim() == 4 else p for name, p in params.items()}, channels_last(x)
