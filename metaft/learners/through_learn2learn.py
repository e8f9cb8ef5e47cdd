"""learn2learn's algorithms as learners: one clone a task, as its users run them."""

from __future__ import annotations

import contextlib
import copy
import io
from collections.abc import Iterator
from importlib.metadata import version
from typing import Protocol

import torch
from torch import Tensor, nn

from metaft.errors import MetaftError
from metaft.learners.learner import Predictor
from metaft.learners.maml import LOSSES
from metaft.tasks.batch import IGNORE, TaskBatch
from metaft.tasks.family import Kind
from metaft.validate import require_count


class Algorithm(Protocol):
    """What learn2learn's ``MAML``, ``MetaSGD`` and ``GBML`` have in common."""

    module: nn.Module

    def clone(self) -> Algorithm:
        """A copy whose parameters lead back to the original's."""
        ...

    def adapt(self, loss: Tensor, first_order: bool | None = None) -> None:
        """One step of the clone down a support loss."""
        ...

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Of the network, and what the algorithm learns beside it."""
        ...

    def __call__(self, x: Tensor) -> Tensor:
        """The network's answers."""
        ...


class Learn2Learn:
    """An algorithm of learn2learn (Arnold et al. 2020) as it stands, trained or not.

    Each task gets a clone, and the clone ``adapt``s K times to its support loss, one task after another, as in that
    library's examples. Batch norm does what the network's mode says: in ``train()``, as those examples leave it, it
    normalises by the batch at hand (transductive); in ``eval()`` by its running statistics (inductive).

    Deviations: the algorithm works on a deep copy, since learn2learn's clones share the buffers of the original and
    would move its running statistics; and steps are taken without the graph that only meta-training needs.

    Args:
        algorithm: ``learn2learn.algorithms.MAML(model, lr)``, ``MetaSGD``, ``GBML``, … It is not copied: what is
            evaluated is its state at the time.
        steps: inner steps K.
        kind: "classification" (cross-entropy) or "regression" (mean squared error).

    Raises:
        MetaftError: if it is no such algorithm, or steps < 0.
    """

    def __init__(self, algorithm: Algorithm, steps: int, kind: Kind = "classification") -> None:
        if not isinstance(algorithm, nn.Module) or not all(hasattr(algorithm, n) for n in ("module", "clone", "adapt")):
            raise MetaftError(
                f"an algorithm of learn2learn is needed, such as learn2learn.algorithms.MAML(model, lr=0.4), "
                f"not {type(algorithm).__name__}"
            )
        require_count(steps, "inner steps")
        self.algorithm, self.steps, self.kind = algorithm, steps, kind
        self.loss = LOSSES[kind]
        self.name = f"learn2learn.{type(algorithm).__name__}"

    @property
    def params(self) -> dict[str, Tensor]:
        """The algorithm's parameters (learned rates and transforms among them) as they are now."""
        return {name: p.detach() for name, p in self.algorithm.named_parameters()}

    @property
    def batch_norm(self) -> str:
        """ "transductive" or "running", by the network's mode; "none" for a network without batch norm."""
        norms = [m for m in self.algorithm.module.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
        if not norms:
            return "none"
        return "transductive" if any(m.training or m.running_mean is None for m in norms) else "running"

    @property
    def transductive(self) -> bool:
        """True where batch norm sees the whole query set."""
        return self.batch_norm == "transductive"

    def adapt(self, support_x: Tensor, support_y: Tensor) -> Predictor:
        """Take K steps on each support set.

        Args:
            support_x: ``[tasks, support, *input]``.
            support_y: ``[tasks, support, ...]``; padded examples are left out.

        Returns:
            ``query_x [tasks, query, *input] → predictions [tasks, query, outputs]``.

        Raises:
            MetaftError: if the algorithm cannot take a step, as with parameters that the loss does not use.
        """
        from metaft.data.compat import learn2learn_module

        adapted = []
        for x, y in zip(support_x, support_y, strict=True):
            *_, clone = self._path(x, y, self.steps)
            learn2learn_module().detach_module(clone, keep_requires_grad=True)
            adapted.append(clone)
        return lambda query_x: torch.stack([_answer(clone, x) for clone, x in zip(adapted, query_x, strict=True)])

    def curve(self, batch: TaskBatch, steps: int | None = None) -> Tensor:
        """Query predictions after each inner step.

        Args:
            batch: the tasks; predictions for padded queries are 0.
            steps: how many steps; K if None.

        Returns:
            ``[steps + 1, tasks, query, outputs]``.

        Raises:
            MetaftError: as `adapt`.
        """
        count = self.steps if steps is None else require_count(steps, "inner steps")
        tasks = []
        for support_x, support_y, query_x, query_y in zip(*batch.tensors(), strict=True):
            asked = _real(query_y)
            answers = torch.stack([_answer(c, query_x[asked]) for c in self._path(support_x, support_y, count)])
            full = answers.new_zeros(count + 1, len(query_x), answers.shape[-1])
            full[:, asked] = answers
            tasks.append(full)
        return torch.stack(tasks, dim=1)

    def _path(self, x: Tensor, y: Tensor, steps: int) -> Iterator[Algorithm]:
        """One task's clone after 0 … K steps; it is the same object each time."""
        real = _real(y)
        x, y = x[real], y[real]
        # GBML's learned update of its transform needs the graph of the step before.
        first_order = not getattr(self.algorithm, "adapt_transform", False)
        with torch.enable_grad():
            clone = copy.deepcopy(self.algorithm).clone()
        yield clone
        for _ in range(steps):
            with torch.enable_grad():
                self._step(clone, self.loss(clone(x), y), first_order)
            yield clone

    def _step(self, clone: Algorithm, loss: Tensor, first_order: bool) -> None:
        # Where a gradient fails, learn2learn prints the traceback and goes on with a variable it never set.
        printed = io.StringIO()
        try:
            with contextlib.redirect_stderr(printed), contextlib.redirect_stdout(io.StringIO()):
                clone.adapt(loss, first_order=first_order)
        except (RuntimeError, UnboundLocalError) as error:
            reason = (printed.getvalue().strip() or str(error)).splitlines()[-1].removeprefix("RuntimeError: ")
            raise MetaftError(
                f"{self.name} cannot take an inner step: {reason} "
                "(for parameters that are frozen or unused it may have allow_nograd=True and allow_unused=True)"
            ) from error

    def describe(self) -> dict[str, object]:
        """The settings that identify this learner."""
        return {
            "learner": self.name,
            "library": f"learn2learn {version('learn2learn')}",
            "steps": self.steps,
            "inner_lr": getattr(self.algorithm, "lr", None),
            "batch_norm": self.batch_norm,
            "adapts": sum(p.numel() for p in self.algorithm.module.parameters() if p.requires_grad),
            "parameters": sum(p.numel() for p in self.params.values()),
        }


def _answer(clone: Algorithm, query_x: Tensor) -> Tensor:
    with torch.no_grad():
        return clone(query_x)


def _real(y: Tensor) -> Tensor:
    """Which of a task's examples are not padding, ``bool [examples]``."""
    return torch.ones(len(y), dtype=torch.bool, device=y.device) if y.is_floating_point() else y != IGNORE
