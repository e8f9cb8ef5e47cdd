"""Any ordinary nn.Module as a pure function of its parameters, with batch norm in a declared mode."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._C._functorch import is_functorch_wrapped_tensor
from torch.func import functional_call
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from metaft.elementary.batch_norm import normalise, var_mean
from metaft.elementary.mode import written_out
from metaft.errors import MetaftError, first_line, nearest
from metaft.models.quantised_layers import Quantised
from metaft.models.recurrent import read_weights_each_time

BatchNormMode = Literal["transductive", "inductive", "running"]
Params = dict[str, Tensor]


class Functional:
    """A module's forward pass as ``model(params, x)``; the module given is copied and never touched.

    Everything that depends on ``module.training`` is in evaluation mode, whatever mode the module given is in;
    ``training()`` is the same network with dropout and its kin on. What a forward pass changes in place, such as a
    buffer that counts its calls, is gone after it.

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
        self.module, self.batch_norm = own_copy(module).eval(), batch_norm
        norms = self._batch_norms(self.module)
        if batch_norm == "running" and any(part.running_mean is None for part in norms):
            raise MetaftError(
                "batch_norm 'running': this network has no running statistics (meta-training gathers none); "
                "use batch_norm 'inductive' or 'transductive'"
            )
        self.normalises = bool(norms)
        self.buffers = {name: b.detach() for name, b in self.module.named_buffers()}
        # All norms' statistics are left as they are (see ``Elementary``), and so are quantised weights; other buffers
        # may be changed in place.
        fixed = nn.modules.batchnorm._NormBase | Quantised
        still = {n for n, part in self.module.named_modules() if isinstance(part, fixed)}
        self._changing = tuple(n for n in self.buffers if n.rpartition(".")[0] not in still)
        self._set_mode(False)

    @staticmethod
    def _batch_norms(module: nn.Module) -> list[nn.modules.batchnorm._BatchNorm]:
        return [part for part in module.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)]

    def _set_mode(self, training: bool) -> None:
        """Train or evaluate; norms go by the declared mode of batch norm alone."""
        self._trains, self._copies = training, dict[tuple[int, bool], nn.Module]()
        self._by_batch, self._by_running = (self._prepared(training, running) for running in (False, True))

    def _prepared(self, training: bool, running: bool) -> nn.Module:
        """A copy that shares all tensors, its batch norms by running statistics or by those of the batch."""
        module = _sharing_copy(self.module).train(training)
        for part in module.modules():
            if isinstance(part, nn.RNNBase):
                read_weights_each_time(part)
            if isinstance(part, nn.modules.instancenorm._InstanceNorm):
                part.train(not running)
            elif isinstance(part, nn.modules.batchnorm._BatchNorm):
                part.train(not running)
                # So it counts no batches, and asks for the batch's statistics; what a module of the user's own asks
                # of ``F.batch_norm`` is left as it is.
                part.track_running_stats = part.track_running_stats and running
        return module

    def training(self) -> Functional:
        """The same network with its random layers on, as in meta-training; weights and buffers are shared."""
        other = copy.copy(self)
        other._set_mode(True)
        return other

    @property
    def frozen(self) -> tuple[str, ...]:
        """Names of the parameters that require no gradient."""
        return tuple(name for name, p in self.module.named_parameters() if not p.requires_grad)

    def __getstate__(self) -> dict[str, Any]:
        """Without the copies that run, which may hold what a transform has left."""
        return {k: v for k, v in vars(self).items() if k not in ("_copies", "_by_batch", "_by_running")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Make them anew."""
        vars(self).update(state)
        self._set_mode(self._trains)

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
        buffers = {n: b.to(x.device) for n, b in self.buffers.items()} | (running or {})
        buffers |= {n: buffers[n].clone() for n in self._changing}
        module = self._own_module(self.batch_norm == "running" or running is not None)
        plain = statistics_from is None and counted is None
        with written_out(), nullcontext() if plain else BatchStatistics(statistics_from, counted):
            return functional_call(module, (params, buffers), (x,))

    def statistics(self, params: Params, x: Tensor, counted: Tensor | None = None) -> Params:
        """What every batch norm normalises by when it sees these examples.

        Args:
            params: the module's, by name.
            x: ``[examples, *input]``.
            counted: ``bool [examples]``, false where one is padding; all count if None.

        Returns:
            ``LAYER.running_mean`` and ``LAYER.running_var``, ``[channels]``: the mean and the biased variance.
        """
        module, found, hooks = self._own_module(self.batch_norm == "running"), Params(), []
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

    def _own_module(self, running: bool) -> nn.Module:
        """This thread's copy: ``functional_call`` puts the parameters into the module while it runs."""
        prepared = self._by_running if running else self._by_batch
        if torch.compiler.is_dynamo_compiling():  # traced away: compiled code holds no module
            return prepared
        thread = threading.get_ident(), running
        if thread not in self._copies:
            self._copies[thread] = _sharing_copy(prepared)
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


def own_copy(module: nn.Module) -> nn.Module:
    """A copy of a module; what it computed from its parameters and holds beside them is copied as a constant.

    Raises:
        MetaftError: if it cannot be copied.
    """
    held = [v for part in module.modules() for v in vars(part).values()]
    tensors = [t for value in held for t in tree_leaves(value) if isinstance(t, Tensor)]
    # What a transform has left in the module has no value any more.
    left = {id(t): torch.empty(0) for t in tensors if is_functorch_wrapped_tensor(t)}
    computed = {id(t): t.detach().clone() for t in tensors if id(t) not in left and t.grad_fn is not None}
    try:
        return copy.deepcopy(module, left | computed)
    except Exception as error:
        raise MetaftError(f"this {type(module).__name__} cannot be copied: {first_line(error)}") from None


def _sharing_copy(module: nn.Module) -> nn.Module:
    """A copy whose parameters and buffers are the module's own tensors."""
    tensors = [*module.parameters(), *module.buffers()]
    return copy.deepcopy(module, {id(t): t for t in tensors})


class BatchStatistics(TorchFunctionMode):
    """Within this context batch norm takes the statistics of the first ``examples`` rows that count.

    Args:
        examples: how many leading rows give mean and variance; all if None.
        counted: ``bool`` over those rows, false for padding, which is left out of both; all count if None.
    """

    def __init__(self, examples: int | None = None, counted: Tensor | None = None) -> None:
        super().__init__()
        self.examples, self.counted = examples, counted

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
        if not training and running_mean is not None:
            return F.batch_norm(x, running_mean, running_var, weight, bias, False, momentum, eps)
        variance, mean = var_mean(x if self.examples is None else x[: self.examples], self.counted)
        return normalise(x, variance, mean, weight, bias, eps)
