"""What a network answers is looked at once, before anything is made of it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from metaft.errors import MetaftError
from metaft.models.functional import Params
from metaft.tasks.batch import TaskBatch
from metaft.tasks.check import require_data, require_network_answer, require_range, require_targets
from metaft.tasks.soft_targets import labels_of

ANY = 2**62
Network = Callable[[Params, Tensor], Tensor]


class FirstBatch:
    """Checks batches of one learner: all there is to check where their shape is new, the range of labels always.

    Args:
        whose: the network's name, for messages.
    """

    def __init__(self, whose: str) -> None:
        self.whose = f"the network {whose}"
        self._seen: dict[object, int] = {}

    def __call__(
        self, network: Network, params: Callable[[], Params], batch: TaskBatch, kind: str, any_ways: bool = False
    ) -> None:
        """Check a batch.

        Args:
            network: ``network(params, x)``.
            params: gives the network's, as they are before the inner loop; asked for where they are looked at.
            batch: the tasks.
            kind: "classification" or "regression".
            any_ways: whether the network is made anew for as many outputs as the tasks have ways.

        Raises:
            MetaftError: naming what does not go together, and the task.
        """
        shapes = tuple((t.shape[1:], t.dtype) for t in batch.tensors())
        if not batch.tasks:  # a rank without a task
            return
        if shapes not in self._seen:
            self._seen[shapes] = self._look(network, params(), batch, kind, any_ways)
        if (
            kind == "classification" and batch.support_y.device.type == "cpu"
        ):  # elsewhere it would have to be waited for
            self._require_range(batch, self._seen[shapes])

    def _look(self, network: Network, params: Params, batch: TaskBatch, kind: str, any_ways: bool) -> int:
        require_data(batch)
        require_targets(batch.support_y, "support_y")
        labels = batch.support_y
        if labels.is_floating_point() != (kind == "regression"):
            given, other = ("labels", "classification") if kind == "regression" else ("values", "regression")
            raise MetaftError(
                f"support_y are {given}, and the learner was made for a {kind}; make it with kind={other!r}"
            )
        if not batch.support_x.shape[1]:
            return ANY
        outputs = answer_width(network, params, batch.support_x[0], self.whose)
        if kind == "regression":
            for name, y in (("support_y", batch.support_y), ("query_y", batch.query_y)):
                if y.dim() != 3 or y.shape[-1] != outputs:
                    raise MetaftError(
                        f"{name} is [tasks, {', '.join(map(str, y.shape[1:]))}], and {self.whose} answers with "
                        f"{outputs} numbers an example; needed is [tasks, {y.shape[1]}, {outputs}]"
                    )
            return outputs
        outputs = ANY if any_ways else outputs
        self._require_range(batch, outputs)
        return outputs

    def _require_range(self, batch: TaskBatch, outputs: int) -> None:
        for y in (batch.support_y, labels_of(batch.query_y)):
            require_range(y, outputs, f"{self.whose} answers with {outputs} numbers an example")


def answer_width(network: Network, params: Params, x: Tensor, whose: str) -> int:
    """How many numbers a network answers with, if it answers as a network has to.

    Args:
        network: ``network(params, x)``.
        params: by name.
        x: ``[examples, *input]``, of one task.
        whose: stands at the beginning of a message.

    Returns:
        The width.

    Raises:
        MetaftError: if it fails, answers with something else than a tensor ``[examples, outputs]`` of its parameters'
            type, or without a gradient towards them.
    """
    leaves = {n: p.detach().requires_grad_() if p.is_floating_point() else p for n, p in params.items()}
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        try:
            answer = network(leaves, x)
        except MetaftError:
            raise
        except Exception as error:
            raise MetaftError(
                f"{whose} fails on the support set of task 0, {str(x.dtype).removeprefix('torch.')} {list(x.shape)}: "
                f"{type(error).__name__}: {error}"
            ) from error
    answer = require_network_answer(answer, x, whose)
    types = {p.dtype for p in params.values() if p.is_floating_point()}
    if types and answer.dtype not in types:
        of = ", ".join(sorted(str(t).removeprefix("torch.") for t in types))
        raise MetaftError(
            f"{whose} answers in {str(answer.dtype).removeprefix('torch.')}, and its parameters are {of}; answer in "
            "their type"
        )
    if types and not answer.requires_grad:
        raise MetaftError(
            f"{whose} gives an answer without a gradient towards its parameters, so nothing could adapt: is there a "
            "detach(), no_grad(), numpy() or argmax() in its forward pass?"
        )
    return answer.shape[1]
