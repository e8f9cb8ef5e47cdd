"""Learners trained end to end through episodes: embed everything, then compare queries with the support set."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, vmap

from metaft.errors import MetaftError
from metaft.learners.learner import Predictor
from metaft.learners.metric.features import TaskFeatures
from metaft.models.functional import BatchNormMode, Params
from metaft.models.heads import head_name
from metaft.outer.chunks import default_size, map_chunks
from metaft.outer.mean_gradient import MetaGradient
from metaft.tasks.batch import IGNORE, TaskBatch
from metaft.tasks.check import require_support
from metaft.tasks.family import Kind
from metaft.tasks.soft_targets import labels_of

NETWORK, COMPARISON = "network.", "comparison."


class Comparison(nn.Module):
    """What a metric learner does with features: a differentiable function of support set and queries.

    Its parameters, if it has any, are meta-trained together with the network.
    """

    @abstractmethod
    def forward(self, support: Tensor, support_y: Tensor, queries: Tensor, outputs: int) -> Tensor:
        """Answer the queries of all tasks; each answer depends on its task's support set and on that query alone.

        Args:
            support: ``[tasks, support, width]``.
            support_y: ``int64 [tasks, support]``, padding labelled `IGNORE`; or real ``[tasks, support, outputs]``.
            queries: ``[tasks, queries, width]``.
            outputs: how many classes, or values a query.

        Returns:
            ``[tasks, queries, outputs]``: scores whose softmax are class probabilities (the lowest finite number for
            a class without a support example), or values.
        """

    def numbers(self, width: int, outputs: int) -> int:
        """How many numbers are fitted to a task."""
        return 0

    def describe(self) -> dict[str, object]:
        """Its settings, flat."""
        return {}


class EpisodicLearner:
    """A network and a comparison, trained by the plain gradient of the query loss (Vinyals et al. 2016, §2.2).

    No parameter is bound to a number of classes, so that training may use more ways than testing. ``params`` are the
    network's parameters and its running statistics (in batch norm's running mode gathered, never trained), and the
    comparison's parameters.

    Args:
        name: the method's.
        model: any module whose last block is a linear head; it is copied and the head left out.
        comparison: answers from features; it is taken over, in the network's type and device.
        batch_norm: "running", "transductive" or "inductive" (see ``TaskFeatures``).
        kind: "classification" (cross-entropy) or "regression" (mean squared error).

    Raises:
        MetaftError: if the network has no linear head or an option is unknown.
    """

    def __init__(
        self,
        name: str,
        model: nn.Module,
        comparison: Comparison,
        batch_norm: BatchNormMode = "running",
        kind: Kind = "classification",
    ) -> None:
        self.name, self.kind = name, kind
        self.features = TaskFeatures(model, batch_norm)
        like = next(model.parameters())
        self.comparison = comparison.to(like.device, like.dtype)
        self.width = feature_width(model)
        self.params = {NETWORK + n: p for n, p in self.features.params().items()}
        self.params |= {COMPARISON + n: p.detach().clone() for n, p in self.comparison.named_parameters()}
        gathered = set(self.features.params()) - set(self.features.trains)  # and what is frozen
        self.trains = tuple(n for n in self.params if n.removeprefix(NETWORK) not in gathered)
        # Of one task's queries; set where a teacher answers them as well (metaft.distillation.taught_meta_learner).
        self.outer_loss: Callable[[Tensor, Tensor], Tensor] | None = None
        self._outputs = 0

    def network(self) -> Params:
        """The network's own parameters and running statistics, by the names they have in it."""
        return _divided(self.params)[0]

    @property
    def transductive(self) -> bool:
        """True where batch norm sees the whole query set."""
        return self.features.by_task.transductive

    def meta_gradient(self, batch: TaskBatch) -> MetaGradient:
        """The mean query loss and its gradient, by a forward and a backward pass over the tasks of each chunk.

        Args:
            batch: the tasks.

        Returns:
            Loss, gradients, the loss of each task, and the mean over tasks of what each makes of the running
            statistics; none of them depends on how tasks are divided into chunks, or among ranks.
        """
        outputs, batch = self._count_outputs(batch.support_y), batch.drawn()
        parts = map_chunks(lambda chunk: self._part(chunk, outputs), batch, size=chunk_size(batch), owner=self)
        losses = torch.cat([losses for losses, _, _ in parts])
        grads = _mean([grads for _, grads, _ in parts], batch.tasks)
        gathered = _mean([moved for _, _, moved in parts], batch.tasks)
        nothing = losses.new_empty(0)
        return MetaGradient(losses.mean(), grads, losses, nothing, nothing, gathered)

    def _part(self, chunk: TaskBatch, outputs: int) -> tuple[Tensor, Params, Params]:
        """The losses of some tasks, and the sums of their gradients and of their running statistics."""
        chunk = without_padding(chunk)
        leaves = {name: self.params[name].detach().requires_grad_() for name in self.trains}
        count = chunk.support_y.shape[1]
        with torch.enable_grad():
            network, comparing = _divided(self.params | leaves)
            x = torch.cat([chunk.support_x, chunk.query_x], dim=1)
            found, moved = self.features.train(network, x, count, chunk.keys)
            losses = self.outer_losses(self._compare(comparing, found, chunk.support_y, outputs), chunk.query_y)
        grads = torch.autograd.grad(losses.sum(), list(leaves.values()), allow_unused=True, materialize_grads=True)
        gathered = {NETWORK + name: value.detach().sum(0) for name, value in moved.items()}
        return losses.detach(), dict(zip(leaves, grads, strict=True)), gathered

    def outer_losses(self, answers: Tensor, query_y: Tensor) -> Tensor:
        """The query loss of each task, ``[tasks]``."""
        return query_losses(answers, query_y) if self.outer_loss is None else vmap(self.outer_loss)(answers, query_y)

    def adapt(self, support_x: Tensor, support_y: Tensor) -> Predictor:
        """Take the support sets.

        Args:
            support_x: ``[tasks, support, *input]``.
            support_y: ``int64 [tasks, support]``, padding labelled `IGNORE`; or real ``[tasks, support, outputs]``.

        Returns:
            ``query_x [tasks, queries, *input] → answers [tasks, queries, outputs]``.
        """

        @torch.no_grad()
        def predictor(query_x: Tensor) -> Tensor:
            asked = support_y.new_zeros(query_x.shape[:2] + support_y.shape[2:])
            return self._answers(TaskBatch(support_x, support_y, query_x, asked))

        return predictor

    @torch.no_grad()
    def curve(self, batch: TaskBatch, steps: int | None = None) -> Tensor:
        """Answers to all queries; there are no inner steps, so ``steps`` changes nothing.

        Args:
            batch: the tasks.
            steps: ignored.

        Returns:
            ``[1, tasks, queries, outputs]``.
        """
        return self._answers(batch).unsqueeze(0)

    def adjoint_norms(self, batch: TaskBatch) -> list[float]:
        """Refused: without inner steps there is no adjoint.

        Raises:
            MetaftError: always.
        """
        raise MetaftError(f"{self.name} has no inner steps to diagnose")

    def scope_rows(self) -> list[list[str]]:
        """What is meta-trained, a row a parameter; running statistics are gathered in running mode."""
        statistics = "gathered" if self.features.mode == "running" else "–"
        other = {NETWORK + name: "frozen" for name in self.features.by_task.frozen}
        return [
            [
                name,
                "×".join(map(str, p.shape)) or "1",
                "–",
                "meta-trained" if name in self.trains else other.get(name, statistics),
            ]
            for name, p in self.params.items()
        ]

    def describe(self) -> dict[str, object]:
        """The settings that identify this learner; "adapts" is as of the last batch (0 before any)."""
        return {
            "learner": self.name,
            **self.comparison.describe(),
            "batch_norm": self.features.mode,
            "adapts": self.comparison.numbers(self.width, self._outputs),
            "parameters": sum(self.params[name].numel() for name in self.trains),
        }

    def _answers(self, batch: TaskBatch) -> Tensor:
        outputs = self._count_outputs(batch.support_y)
        network, comparing = _divided(self.params)

        def answers(chunk: TaskBatch) -> Tensor:
            real = without_padding(chunk)
            x = torch.cat([real.support_x, real.query_x], dim=1)
            found = self.features(network, x, real.support_y.shape[1])
            given = self._compare(comparing, found, real.support_y, outputs)
            if given.shape[1] == chunk.query_y.shape[1]:
                return given
            full = given.new_zeros(*chunk.query_y.shape[:2], outputs)
            full[:, labels_of(chunk.query_y)[0] != IGNORE] = given
            return full

        return torch.cat(map_chunks(answers, batch, size=chunk_size(batch), owner=self))

    def _compare(self, params: Params, found: Tensor, support_y: Tensor, outputs: int) -> Tensor:
        support, queries = found.tensor_split([support_y.shape[1]], dim=1)
        return self.compare(params, support, support_y, queries, outputs)

    def compare(self, params: Params, support: Tensor, support_y: Tensor, queries: Tensor, outputs: int) -> Tensor:
        """Answer by features.

        Args:
            params: of the comparison.
            support: ``[tasks, support, width]``.
            support_y: as for `adapt`.
            queries: ``[tasks, queries, width]``.
            outputs: how many classes, or values a query.

        Returns:
            ``[tasks, queries, outputs]``.
        """
        answers: Tensor = functional_call(self.comparison, params, (support, support_y, queries, outputs))
        return answers

    def _count_outputs(self, support_y: Tensor) -> int:
        require_support(support_y)
        if support_y.is_floating_point() != (self.kind == "regression"):
            raise MetaftError(f"learner {self.name!r} was made for a {self.kind}; make it with the kind of these tasks")
        self._outputs = support_y.shape[-1] if self.kind == "regression" else int(support_y.max()) + 1
        return self._outputs


def _divided(params: Params) -> tuple[Params, Params]:
    """The parameters of the network and those of the comparison, by their own names."""
    network, comparing = (
        {name.removeprefix(prefix): p for name, p in params.items() if name.startswith(prefix)}
        for prefix in (NETWORK, COMPARISON)
    )
    return network, comparing


def _mean(sums: list[Params], tasks: int) -> Params:
    """The mean over tasks, of sums over the tasks of each chunk."""
    return {name: (torch.stack([s[name] for s in sums]).sum(0) / tasks).contiguous() for name in sums[0]}


def chunk_size(batch: TaskBatch) -> int:
    """How many tasks pass through the network together: one where they are padded or images on a CPU, else all."""
    return 1 if batch.ragged else default_size(batch)


def without_padding(batch: TaskBatch) -> TaskBatch:
    """A batch without the padding of its examples; a batch with some must be of one task."""
    if not batch.ragged:
        return batch
    kept, asked = batch.support_y[0] != IGNORE, labels_of(batch.query_y)[0] != IGNORE
    parts = batch.support_x[:, kept], batch.support_y[:, kept], batch.query_x[:, asked], batch.query_y[:, asked]
    return TaskBatch(*parts, batch.keys, layout=batch.layout)


def query_losses(answers: Tensor, query_y: Tensor) -> Tensor:
    """The mean query loss of each task.

    Args:
        answers: ``[tasks, queries, outputs]``.
        query_y: ``int64 [tasks, queries]``, padding left out (cross-entropy); or values (mean squared error).

    Returns:
        ``[tasks]``.
    """
    if query_y.is_floating_point():
        return (answers - query_y).square().flatten(1).mean(1)
    each = F.cross_entropy(answers.flatten(0, 1), query_y.flatten(), ignore_index=IGNORE, reduction="none")
    return each.view_as(query_y).sum(1) / (query_y != IGNORE).sum(1)


def feature_width(model: nn.Module) -> int:
    """The width of the features that a network's head sees."""
    head = model.get_submodule(head_name(model))
    assert isinstance(head, nn.Linear)
    return head.in_features


def require_classes(kind: Kind, name: str) -> None:
    """Refuse regressions.

    Args:
        kind: of the tasks.
        name: the method's.

    Raises:
        MetaftError: if the tasks are regressions.
    """
    if kind != "classification":
        raise MetaftError(
            f"{name} compares classes, and this is a regression; use in-context-transformer, r2d2 or maml"
        )
