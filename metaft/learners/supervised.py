"""Ordinary supervised training, as a learner that the training loop can drive."""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from metaft.elementary.mode import Elementary
from metaft.errors import MetaftError
from metaft.learners.class_means import ClassMeans
from metaft.learners.learner import Predictor
from metaft.outer.mean_gradient import MetaGradient
from metaft.tasks.batch import TaskBatch


class Supervised:
    """A classifier of all training classes; on few-shot tasks it answers by class means of its features.

    The pretraining stage of Chen et al. 2019 (§3.2) and SimpleShot (Wang et al. 2019, §3). ``params`` are the
    network's parameters *and* the running statistics of its batch norm, so that a checkpoint, the moving average and
    the best weights hold both; the statistics get no gradient, they are gathered in each forward pass.

    Args:
        model: the network, its head as wide as there are classes; copied.
        label_smoothing: share of the target that is spread over all classes (Szegedy et al. 2016, §7), in [0, 1).

    Raises:
        MetaftError: if the smoothing is out of range.
    """

    name = "supervised"
    transductive = False

    def __init__(self, model: nn.Module, *, label_smoothing: float = 0.0) -> None:
        if not 0 <= label_smoothing < 1:
            raise MetaftError(f"label_smoothing must lie in [0, 1), not {label_smoothing!r}")
        self.module = copy.deepcopy(model)
        self.label_smoothing = label_smoothing
        self.trains = tuple(name for name, p in self.module.named_parameters() if p.requires_grad)
        self.frozen = tuple(name for name, p in self.module.named_parameters() if not p.requires_grad)
        statistics = {name: b for name, b in self.module.named_buffers() if b.is_floating_point()}
        own = dict(self.module.named_parameters()) | statistics
        self.params = {name: value.detach().clone() for name, value in own.items()}

    def meta_gradient(self, batch: TaskBatch) -> MetaGradient:
        """The mean cross-entropy of a minibatch and its gradient; running statistics move along.

        Args:
            batch: images as queries, without support.

        Returns:
            Loss, gradients and the loss of each image.
        """
        leaves = {name: self.params[name].detach().requires_grad_() for name in self.trains}
        self.module.train()
        with torch.enable_grad(), Elementary(batch.drawn().keys, moving=True):
            losses = self.losses(self.params | leaves, batch)
            loss = losses.mean()
        grads = torch.autograd.grad(loss, list(leaves.values()))
        nothing = losses.new_empty(0)
        return MetaGradient(
            loss.detach(), dict(zip(self.trains, grads, strict=True)), losses.detach(), nothing, nothing
        )

    def losses(self, params: dict[str, Tensor], batch: TaskBatch) -> Tensor:
        """What training descends the mean of, in training mode.

        Args:
            params: of the network, by name; running statistics in it move along.
            batch: as for ``meta_gradient``.

        Returns:
            The cross-entropy of each image, ``[images]``.
        """
        scores = functional_call(self.module, params, (batch.query_x.flatten(0, 1),))
        return F.cross_entropy(scores, batch.query_y.flatten(), reduction="none", label_smoothing=self.label_smoothing)

    def trained(self) -> nn.Module:
        """The network with the weights and running statistics as they are now, in evaluation mode."""
        model = copy.deepcopy(self.module).eval()
        model.load_state_dict(self.params, strict=False)  # all but the counts of batches
        return model.to(next(iter(self.params.values())).device)

    def adapt(self, support_x: Tensor, support_y: Tensor) -> Predictor:
        """Class means of the support sets' features, as ``ClassMeans`` has them."""
        return ClassMeans(self.trained()).adapt(support_x, support_y)

    def curve(self, batch: TaskBatch, steps: int | None = None) -> Tensor:
        """Answers of the training classes' head where there is no support set, else by class means.

        Args:
            batch: the tasks.
            steps: ignored; nothing steps.

        Returns:
            ``[1, tasks, query, outputs]``.
        """
        if batch.support_x.shape[1]:
            return ClassMeans(self.trained()).curve(batch)
        with torch.no_grad():
            return self.trained()(batch.query_x.flatten(0, 1)).unflatten(0, batch.query_y.shape)[None]

    def adjoint_norms(self, batch: TaskBatch) -> list[float]:
        """Refused: without inner steps there is no adjoint.

        Raises:
            MetaftError: always.
        """
        raise MetaftError("supervised training has no inner steps to diagnose")

    def scope_rows(self) -> list[list[str]]:
        """What is trained, a row a parameter; running statistics are gathered."""
        kinds = dict.fromkeys(self.trains, "trained") | dict.fromkeys(self.frozen, "frozen")
        return [
            [name, "×".join(map(str, value.shape)) or "1", "–", kinds.get(name, "gathered")]
            for name, value in self.params.items()
        ]

    def describe(self) -> dict[str, object]:
        """The settings that identify this learner."""
        return {
            "learner": self.name,
            "label_smoothing": self.label_smoothing,
            "batch_norm": "running",
            "parameters": sum(self.params[name].numel() for name in self.trains),
            "adapts": 0,
        }
