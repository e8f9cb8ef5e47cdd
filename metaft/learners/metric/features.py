"""From the examples of all tasks to their features, in one forward pass that can be trained through."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.func import functional_call

from metaft.inner.tasks import channels_last, images_on_cpu, over_tasks
from metaft.models.functional import BatchNormMode, Functional, Params
from metaft.models.heads import without_head

MOST_VALUES = 2**18
"""Input values in one forward pass on a CPU where nothing is trained: it bounds the memory of activations."""


class TaskFeatures:
    """The features of support and query sets, by a network without its head.

    The mode of batch norm says which examples one is normalised by:

    - "running": in training by all examples of all tasks of the batch, in evaluation by the running statistics that
      training gathers. Scores are inductive. With one task a batch this is what the authors' code of prototypical
      networks and R2-D2 does, which passes support and query set through the network as one batch.
    - "transductive": by the support and query set of its own task, in training and in evaluation. No statistics are
      gathered, and the answer to a query depends on the other queries.
    - "inductive": by its task's support set alone, in training and in evaluation.

    Padding enters no statistic. An instance is not safe to share between threads.

    Args:
        model: any module whose last block is a linear head; copied, and the head left out.
        batch_norm: the mode.

    Raises:
        MetaftError: if the mode is unknown, the network has no linear head, or no running statistics in running mode.
    """

    def __init__(self, model: nn.Module, batch_norm: BatchNormMode = "running") -> None:
        self.module = without_head(model)
        self.by_task = Functional(self.module, batch_norm)
        self.trains = tuple(self.by_task.params())

    @property
    def mode(self) -> str:
        """The mode of batch norm; "none" for a network without."""
        return self.by_task.batch_norm if self.by_task.normalises else "none"

    def params(self) -> Params:
        """A fresh copy of the network's parameters and of its running statistics, which only running mode moves."""
        statistics = {n: b.detach().clone() for n, b in self.module.named_buffers() if b.is_floating_point()}
        return self.by_task.params() | statistics

    def __call__(
        self, params: Params, x: Tensor, support: int, counted: Tensor | None = None, training: bool = False
    ) -> Tensor:
        """Embed all examples of all tasks.

        Args:
            params: as from ``params``; in training, running statistics among them are moved in place.
            x: ``[tasks, examples, *input]``, the support set first.
            support: how many of a task's examples are its support set.
            counted: ``bool [tasks, examples]``, false for padding; all count if None.
            training: whether batch norm in running mode uses, and gathers, the batch's own statistics.

        Returns:
            ``[tasks, examples, width]``; 0 for padding in running mode.
        """
        if images_on_cpu(x) and x.dim() == 5:
            x = channels_last(x)
            params = {name: channels_last(p) if p.dim() == 4 else p for name, p in params.items()}
        if self.mode not in ("running", "none"):
            return self._task_by_task({n: params[n] for n in self.trains}, x, support, counted)
        real = x.flatten(0, 1) if counted is None else x[counted]
        self.module.train(training)
        whole = training or x.device.type != "cpu"
        size = len(real) if whole else max(1, MOST_VALUES // max(real[0].numel(), 1))
        found = torch.cat([functional_call(self.module, params, (part,)) for part in real.split(size)])
        if counted is None:
            return found.unflatten(0, x.shape[:2])
        return found.new_zeros(*counted.shape, found.shape[-1]).index_put((counted,), found)

    def _task_by_task(self, params: Params, x: Tensor, support: int, counted: Tensor | None) -> Tensor:
        """Every task normalised by statistics of its own."""
        first = support if self.mode == "inductive" else None
        size = 1 if images_on_cpu(x) else len(x)
        if counted is None:
            alone = over_tasks(lambda x: self.by_task(params, x, first), (0,))
            return torch.cat([alone(part) for part in x.split(size)])
        padded = over_tasks(lambda x, c: self.by_task(params, x, first, c[:first]), (0, 0))
        return torch.cat([padded(*part) for part in zip(x.split(size), counted.split(size), strict=True)])
