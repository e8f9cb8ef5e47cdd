"""Any ordinary nn.Module as a pure function of its parameters, with batch norm in a declared mode."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._C._functorch import TransformType
from torch._functorch.pyfunctorch import retrieve_all_functorch_interpreters
from torch.func import functional_call
from torch.overrides import TorchFunctionMode

from metaft.errors import MetaftError, nearest
from metaft.models.written_out import max_pool2d, normalise, plain_max_pool2d, var_mean

BatchNormMode = Literal["transductive", "inductive", "running"]
MAX_POOLING = (F.max_pool2d, torch.max_pool2d)  # the second is what a mode sees of the first while it is compiled
Params = dict[str, Tensor]


class Functional:
    """A module's forward pass as ``model(params, x)``; the module given is copied and never touched.

    Batch norm normalises by the batch it is given, so a query set normalised by itself is **transductive**: a
    prediction depends on the other queries, as in most published MAML numbers. In **inductive** mode queries are
    normalised by the support set's statistics alone. In **running** mode everything is normalised by the statistics
    the module gathered in ordinary training, which is inductive too. None of them updates running statistics.

    Args:
        module: any module whose forward pass takes one tensor.
        batch_norm: "transductive", "inductive" or "running".

    Raises:
        MetaftError: if the mode is unknown, or is "running" and the module keeps no running statistics.
    """

    def __init__(self, module: nn.Module, batch_norm: BatchNormMode = "transductive") -> None:
        if batch_norm not in get_args(BatchNormMode):
            raise MetaftError(f"unknown batch-norm mode {batch_norm!r}{nearest(batch_norm, get_args(BatchNormMode))}")
        self.module = copy.deepcopy(module)
        for part in self.module.modules():
            if isinstance(part, nn.modules.batchnorm._BatchNorm):
                part.eval()  # its counter of batches would otherwise be updated in place
                if batch_norm == "running" and part.running_mean is None:
                    raise MetaftError(
                        "batch_norm 'running': this network has no running statistics (meta-training gathers none); "
                        "use batch_norm 'inductive' or 'transductive'"
                    )
        self.batch_norm = batch_norm
        self._copies: dict[int, nn.Module] = {}
        self.buffers = {name: b.detach() for name, b in self.module.named_buffers()}

    @property
    def normalises(self) -> bool:
        """Whether the module has batch norm at all; without it the mode makes no difference."""
        return any(isinstance(part, nn.modules.batchnorm._BatchNorm) for part in self.module.modules())

    @property
    def norms(self) -> tuple[str, ...]:
        """The names of the module's batch-norm layers."""
        batch_norm = nn.modules.batchnorm._BatchNorm
        return tuple(name for name, part in self.module.named_modules() if isinstance(part, batch_norm))

    @property
    def transductive(self) -> bool:
        """Whether a query's prediction depends on the other queries."""
        return self.normalises and self.batch_norm == "transductive"

    def params(self) -> Params:
        """A fresh copy of the module's parameters; one shared between layers appears once."""
        return {name: p.detach().clone() for name, p in self.module.named_parameters()}

    def __call__(
        self,
        params: Params,
        x: Tensor,
        statistics_from: int | None = None,
        counted: Tensor | None = None,
        running: Params | None = None,
    ) -> Tensor:
        """Run the module.

        Args:
            params: its parameters, by name.
            x: ``[examples, *input]``.
            statistics_from: batch norm takes its statistics from this many leading examples; all if None. In running
                mode it has no effect.
            counted: ``bool`` over those examples, false where one is padding; all count if None.
            running: running statistics to normalise by, in place of the mode: ``LAYER.running_mean`` and
                ``LAYER.running_var`` of every batch norm, ``[channels]``.

        Returns:
            ``[examples, outputs]``.
        """
        buffers = {name: b.to(x.device) for name, b in self.buffers.items()} | (running or {})
        with BatchStatistics(statistics_from, self.batch_norm == "running" or running is not None, counted):
            return functional_call(self._own_module(), (params, buffers), (x,))

    def statistics(self, params: Params, x: Tensor, counted: Tensor | None = None) -> Params:
        """What every batch norm normalises by when it sees these examples.

        Args:
            params: the module's, by name.
            x: ``[examples, *input]``.
            counted: ``bool [examples]``, false where one is padding; all count if None.

        Returns:
            ``LAYER.running_mean`` and ``LAYER.running_var``, ``[channels]``: the mean and the biased variance.
        """
        module, found, hooks = self._own_module(), Params(), []
        for name in self.norms:

            def seen(part: nn.Module, inputs: tuple[Tensor, ...], name: str = name) -> None:
                variance, mean = var_mean(inputs[0], counted)
                found.update({f"{name}.running_mean": mean, f"{name}.running_var": variance})

            hooks.append(module.get_submodule(name).register_forward_pre_hook(seen))
        try:
            self(params, x, counted=counted)
        finally:
            for hook in hooks:
                hook.remove()
        return found

    def _own_module(self) -> nn.Module:
        """This thread's copy: ``functional_call`` puts the parameters into the module while it runs."""
        if torch.compiler.is_dynamo_compiling():  # traced away: compiled code holds no module
            return self.module
        thread = threading.get_ident()
        if thread not in self._copies:
            self._copies[thread] = copy.deepcopy(self.module)
        return self._copies[thread]

    def query(
        self,
        params: Params,
        support_x: Tensor,
        query_x: Tensor,
        support_counted: Tensor | None = None,
        query_counted: Tensor | None = None,
    ) -> Tensor:
        """Answer queries in the declared batch-norm mode.

        Args:
            params: adapted parameters.
            support_x: ``[support, *input]``; its statistics are used in inductive mode.
            query_x: ``[query, *input]``.
            support_counted: ``bool [support]``, false where an example is padding; all count if None.
            query_counted: ``bool [query]``, likewise.

        Returns:
            ``[query, outputs]``.
        """
        if not self.normalises or self.batch_norm != "inductive":
            return self(params, query_x, counted=query_counted)
        support = support_x.shape[0]
        return self(params, torch.cat([support_x, query_x]), support, support_counted)[support:]


class BatchStatistics(TorchFunctionMode):
    """Within this context every ``F.batch_norm`` normalises by statistics of the first ``examples`` rows.

    Within a ``torch.func.vmap`` it is written out in elementary operations on purpose: torch's fused batch norm,
    differentiated twice and from outside a vmap, gives a wrong meta-gradient without a word
    (tests/models/test_functional.py). Elsewhere the fused one is right, and quicker where nothing is compiled.

    In code compiled for a CPU, max-pooling is written out as well.

    Args:
        examples: how many leading rows give mean and variance; all if None.
        running: normalise by running statistics instead, whatever the rows.
        counted: ``bool`` over those rows, false for padding, which is left out of both; all count if None.
    """

    def __init__(self, examples: int | None = None, running: bool = False, counted: Tensor | None = None) -> None:
        super().__init__()
        self.examples, self.running, self.counted = examples, running, counted

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Replace batch norm and max-pooling; let everything else pass."""
        if func is F.batch_norm:
            return self._batch_norm(*args, **(kwargs or {}))
        if func in MAX_POOLING:
            return self._max_pool2d(func, *args, **(kwargs or {}))
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
        all_rows = self.examples is None and self.counted is None
        if all_rows and not torch.compiler.is_dynamo_compiling() and not _vmapped():
            if self.running and running_mean is not None:
                return F.batch_norm(x, running_mean, running_var, weight, bias, False, momentum, eps)
            return F.batch_norm(x, None, None, weight, bias, True, momentum, eps)
        if self.running and running_mean is not None and running_var is not None:
            variance, mean = running_var, running_mean
        else:
            variance, mean = var_mean(x if self.examples is None else x[: self.examples], self.counted)
        return normalise(x, variance, mean, weight, bias, eps)

    def _max_pool2d(self, func: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        kernel = plain_max_pool2d(*args, **kwargs)
        if kernel is None or not torch.compiler.is_dynamo_compiling() or args[0].device.type != "cpu":
            return func(*args, **kwargs)
        return max_pool2d(args[0], kernel)


def _vmapped() -> bool:
    """Whether we are inside a ``torch.func.vmap``."""
    return any(level.key() == TransformType.Vmap for level in retrieve_all_functorch_interpreters())
