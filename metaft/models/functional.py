"""Any ordinary nn.Module as a pure function of its parameters, with batch norm in a declared mode."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call
from torch.overrides import TorchFunctionMode

from metaft.errors import MetaftError, nearest

BatchNormMode = Literal["transductive", "inductive"]
Params = dict[str, Tensor]


class Functional:
    """A module's forward pass as ``model(params, x)``; the module given is copied and never touched.

    Batch norm never uses or updates running statistics. It normalises by the batch it is given, so a query set
    normalised by itself is **transductive**: a prediction depends on the other queries, as in most published MAML
    numbers. In **inductive** mode queries are normalised by the support set's statistics alone.

    Args:
        module: any module whose forward pass takes one tensor.
        batch_norm: "transductive" or "inductive".

    Raises:
        MetaftError: if the mode is unknown.
    """

    def __init__(self, module: nn.Module, batch_norm: BatchNormMode = "transductive") -> None:
        if batch_norm not in get_args(BatchNormMode):
            raise MetaftError(f"unknown batch-norm mode {batch_norm!r}{nearest(batch_norm, get_args(BatchNormMode))}")
        self.module = copy.deepcopy(module)
        for part in self.module.modules():
            if isinstance(part, nn.modules.batchnorm._BatchNorm):
                part.eval()  # its counter of batches would otherwise be updated in place
        self.batch_norm = batch_norm
        self._copies: dict[int, nn.Module] = {}
        self.buffers = {name: b.detach() for name, b in self.module.named_buffers()}

    @property
    def normalises(self) -> bool:
        """Whether the module has batch norm at all; without it the mode makes no difference."""
        return any(isinstance(part, nn.modules.batchnorm._BatchNorm) for part in self.module.modules())

    @property
    def transductive(self) -> bool:
        """Whether a query's prediction depends on the other queries."""
        return self.normalises and self.batch_norm == "transductive"

    def params(self) -> Params:
        """A fresh copy of the module's parameters; one shared between layers appears once."""
        return {name: p.detach().clone() for name, p in self.module.named_parameters()}

    def __call__(self, params: Params, x: Tensor, statistics_from: int | None = None) -> Tensor:
        """Run the module.

        Args:
            params: its parameters, by name.
            x: ``[examples, *input]``.
            statistics_from: batch norm takes its statistics from this many leading examples; all if None.

        Returns:
            ``[examples, outputs]``.
        """
        with BatchStatistics(statistics_from):
            return functional_call(self._own_module(), (params, self.buffers), (x,))

    def _own_module(self) -> nn.Module:
        """This thread's copy: ``functional_call`` puts the parameters into the module while it runs."""
        if torch.compiler.is_compiling():  # traced away: compiled code holds no module
            return self.module
        thread = threading.get_ident()
        if thread not in self._copies:
            self._copies[thread] = copy.deepcopy(self.module)
        return self._copies[thread]

    def query(self, params: Params, support_x: Tensor, query_x: Tensor) -> Tensor:
        """Answer queries in the declared batch-norm mode.

        Args:
            params: adapted parameters.
            support_x: ``[support, *input]``; its statistics are used in inductive mode.
            query_x: ``[query, *input]``.

        Returns:
            ``[query, outputs]``.
        """
        if not self.normalises or self.batch_norm == "transductive":
            return self(params, query_x)
        support = support_x.shape[0]
        return self(params, torch.cat([support_x, query_x]), statistics_from=support)[support:]


class BatchStatistics(TorchFunctionMode):
    """Within this context every ``F.batch_norm`` normalises by statistics of the first ``examples`` rows.

    It is written out in elementary operations on purpose: torch's fused batch norm, differentiated twice and from
    outside a ``torch.func.vmap``, gives a wrong meta-gradient without a word (tests/models/test_functional.py).

    Args:
        examples: how many leading rows give mean and variance; all if None.
    """

    def __init__(self, examples: int | None = None) -> None:
        super().__init__()
        self.examples = examples

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Replace batch norm; let everything else pass."""
        if func is F.batch_norm:
            return self._batch_norm(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))

    def _batch_norm(
        self,
        x: Tensor,
        running_mean: Tensor | None = None,
        running_var: Tensor | None = None,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        training: bool = False,
        momentum: float = 0.1,
        eps: float = 1e-5,
    ) -> Tensor:
        axes = (0, *range(2, x.dim()))
        shape = (-1,) + (1,) * (x.dim() - 2)
        variance, mean = torch.var_mean(x if self.examples is None else x[: self.examples], axes, correction=0)
        scale = torch.rsqrt(variance + eps)
        if weight is not None:
            scale = scale * weight
        shift = -mean * scale
        if bias is not None:
            shift = shift + bias
        return x * scale.reshape(shape) + shift.reshape(shape)
