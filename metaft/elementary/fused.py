"""Functions whose fused derivatives are wrong or absent, and what stands in their place; handlers get the mode."""

from __future__ import annotations

import types
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from metaft.elementary import functions, norms, recurrent
from metaft.elementary.attention import attention
from metaft.elementary.batch_norm import normalise, var_mean
from metaft.elementary.levels import batched, transformed
from metaft.elementary.max_pooling import max_pool2d, plain_max_pool2d

if TYPE_CHECKING:
    from metaft.elementary.mode import Elementary

Handler = Callable[..., Any]


def _norm(written: Handler, mode: Elementary, func: Handler, /, *args: Any, **kwargs: Any) -> Any:
    return written(*args, **kwargs) if batched() else func(*args, **kwargs)


def _instance_norm(mode: Elementary, func: Handler, /, *args: Any, **kwargs: Any) -> Any:
    return norms.instance_norm(*args, **kwargs) if transformed() and not mode.moving else func(*args, **kwargs)


def _batch_norm(
    mode: Elementary,
    func: Handler,
    /,
    x: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Running statistics are used where they are asked for, and never moved."""
    if mode.moving:
        return F.batch_norm(x, running_mean, running_var, weight, bias, training, momentum, eps)
    own = training or running_mean is None or running_var is None
    if not batched():
        kept = (None, None) if own else (running_mean, running_var)
        return F.batch_norm(x, *kept, weight, bias, own, momentum, eps)
    variance, mean = var_mean(x)
    if not own and running_mean is not None and running_var is not None:
        variance, mean = running_var, running_mean
    return normalise(x, variance, mean, weight, bias, eps)


def _torch_batch_norm(
    mode: Elementary, func: Handler, /, x: Tensor, weight: Any, bias: Any, mean: Any, variance: Any, *more: Any
) -> Tensor:
    return _batch_norm(mode, func, x, mean, variance, weight, bias, *more[:3])


def _torch_instance_norm(
    mode: Elementary, func: Handler, /, x: Tensor, weight: Any, bias: Any, mean: Any, variance: Any, *more: Any
) -> Any:
    if not transformed():
        return func(x, weight, bias, mean, variance, *more)
    return norms.instance_norm(x, mean, variance, weight, bias, *more[:3])


def _without_last(written: Handler) -> Handler:
    """``torch.layer_norm`` has one argument more than ``F.layer_norm``: whether cuDNN may be used."""
    return lambda *args, cudnn_enable=True, cudnn_enabled=True: written(*args[:5])


def _native_layer_norm(
    mode: Elementary, func: Handler, /, x: Tensor, shape: Sequence[int], weight: Any, bias: Any, eps: float
) -> Any:
    """The operators below ``torch.layer_norm`` and its kin also give their statistics."""
    if not batched():
        return func(x, shape, weight, bias, eps)
    return norms.layer_norm(x, shape, weight, bias, eps), *norms.statistics(x, tuple(range(-len(shape), 0)), eps)


def _native_batch_norm(
    mode: Elementary,
    func: Handler,
    /,
    x: Tensor,
    weight: Any,
    bias: Any,
    running_mean: Any,
    running_var: Any,
    training: bool,
    momentum: float,
    eps: float,
) -> Any:
    if not batched():
        return func(x, weight, bias, running_mean, running_var, training, momentum, eps)
    found = _batch_norm(mode, func, x, running_mean, running_var, weight, bias, training, momentum, eps)
    if not training:
        return found, x.new_empty(0), x.new_empty(0)
    axes = tuple(axis for axis in range(x.dim()) if axis != 1)
    return found, *(v.flatten() for v in norms.statistics(x, axes, eps))


def _max_pool2d(mode: Elementary, func: Handler, /, *args: Any, **kwargs: Any) -> Any:
    """In code compiled for a CPU: torch's own can be neither fused nor vectorised there."""
    kernel = plain_max_pool2d(*args, **kwargs)
    if kernel is None or not torch.compiler.is_dynamo_compiling() or args[0].device.type != "cpu":
        return func(*args, **kwargs)
    return max_pool2d(args[0], kernel)


def _attention(mode: Elementary, func: Handler, /, query: Tensor, *args: Any, **kwargs: Any) -> Any:
    thins = mode.key is not None and (kwargs.get("dropout_p") or (len(args) > 3 and args[3]))
    if query.is_nested or not (transformed() or thins):
        return func(query, *args, **kwargs)
    return attention(query, *args, **kwargs, thin=mode.thin)


def _recurrent(
    cell: recurrent.Cell, single: bool, mode: Elementary, func: Handler, /, x: Tensor, *args: Any, **kwargs: Any
) -> Any:
    """``torch.lstm`` and its kin, of plain or packed sequences; these have the steps' sizes before the state."""
    if not transformed() and mode.key is None:
        return func(x, *args, **kwargs)
    sizes: list[int] | None = None
    if not isinstance(args[2], bool):
        sizes, args = args[0].tolist(), (*args[1:], False)
    state, *rest = args
    states = (state,) if single else tuple(state)
    return recurrent.recurrent(cell, x, states, *rest, sizes=sizes, thin=mode.thin)


def _cell(cell: recurrent.Cell, single: bool, mode: Elementary, func: Handler, /, *args: Any, **kwargs: Any) -> Any:
    if not transformed():
        return func(*args, **kwargs)
    x, state, w_ih, w_hh, b_ih, b_hh = (*args, None, None)[:6] if not kwargs else _cell_arguments(*args, **kwargs)
    found = cell(F.linear(x, w_ih, b_ih), (state,) if single else tuple(state), w_hh, b_hh)
    return found[0] if single else found


def _cell_arguments(
    input: Tensor, hx: Any, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor | None = None, b_hh: Tensor | None = None
) -> tuple[Any, ...]:
    return input, hx, w_ih, w_hh, b_ih, b_hh


def _written(written: Handler, mode: Elementary, func: Handler, /, *args: Any, **kwargs: Any) -> Any:
    """What has no second derivative, or a wrong one, wherever something is differentiated."""
    return written(*args, **kwargs) if transformed() else func(*args, **kwargs)


def _written_in_place(
    written: Handler, mode: Elementary, func: Handler, /, input: Tensor, inplace: bool = False
) -> Any:
    if not transformed():
        return func(input, inplace=inplace)
    return mode.keep(input, written(input)) if inplace else written(input)


def _projected(q: Tensor, k: Tensor, v: Tensor, weight: Tensor, bias: Tensor | None = None) -> list[Tensor]:
    """Queries, keys and values; torch's own reshapes in a way that the compiler does not follow under a mode."""
    biases = (None, None, None) if bias is None else bias.chunk(3)
    return [F.linear(x, w, b) for x, w, b in zip((q, k, v), weight.chunk(3), biases, strict=True)]


def _opened(function: Any, **more: Handler) -> Handler:
    """A copy of one of torch's Python functions that does not hand itself to a mode, so that its parts are seen."""
    closed = {name: lambda *args: False for name in function.__globals__ if name.startswith("has_torch_function")}
    copy = types.FunctionType(
        function.__code__, {**function.__globals__, **closed, **more}, function.__name__, function.__defaults__
    )
    copy.__kwdefaults__ = function.__kwdefaults__
    return copy


_open_attention = _opened(F.multi_head_attention_forward, _in_projection_packed=_projected)


def _multi_head(mode: Elementary, func: Handler, /, *args: Any, **kwargs: Any) -> Any:
    with mode:
        return _open_attention(*args, **kwargs)


FUSED: dict[Any, Handler] = {
    F.batch_norm: _batch_norm,
    F.layer_norm: partial(_norm, norms.layer_norm),
    F.group_norm: partial(_norm, norms.group_norm),
    F.rms_norm: partial(_norm, norms.rms_norm),
    F.instance_norm: _instance_norm,
    torch.layer_norm: partial(_norm, _without_last(norms.layer_norm)),
    torch.group_norm: partial(_norm, _without_last(norms.group_norm)),
    torch.rms_norm: partial(_norm, norms.rms_norm),
    torch._weight_norm: partial(_written, norms.weight_norm),
    torch.batch_norm: _torch_batch_norm,
    torch.instance_norm: _torch_instance_norm,
    F.max_pool2d: _max_pool2d,
    torch.max_pool2d: _max_pool2d,  # what a mode sees of the one above while it is compiled
    F.scaled_dot_product_attention: _attention,
    F.multi_head_attention_forward: _multi_head,
    F.embedding: partial(_written, functions.embedding),
    F.embedding_bag: partial(_written, functions.embedding_bag),
    F.hardsigmoid: partial(_written_in_place, functions.hardsigmoid),
    F.multi_margin_loss: partial(_written, functions.multi_margin_loss),
    F.multilabel_margin_loss: partial(_written, functions.multilabel_margin_loss),
    F.gaussian_nll_loss: partial(_written, functions.gaussian_nll_loss),
    F.channel_shuffle: partial(_written, functions.channel_shuffle),
    F.native_channel_shuffle: partial(_written, functions.channel_shuffle),
    F.pdist: partial(_written, functions.pdist),
    torch.pdist: partial(_written, functions.pdist),
    torch.cdist: partial(_written, functions.cdist),
    torch._pack_padded_sequence: partial(_written, recurrent.packed),
    torch._pad_packed_sequence: partial(_written, recurrent.unpacked),
    torch.lstm: partial(_recurrent, recurrent.lstm_cell, False),
    torch.gru: partial(_recurrent, recurrent.gru_cell, True),
    torch.rnn_tanh: partial(_recurrent, recurrent.tanh_cell, True),
    torch.rnn_relu: partial(_recurrent, recurrent.relu_cell, True),
    torch.lstm_cell: partial(_cell, recurrent.lstm_cell, False),
    torch.gru_cell: partial(_cell, recurrent.gru_cell, True),
    torch.rnn_tanh_cell: partial(_cell, recurrent.tanh_cell, True),
    torch.rnn_relu_cell: partial(_cell, recurrent.relu_cell, True),
}
for _name, _handler in (
    ("native_layer_norm", _native_layer_norm),
    ("native_batch_norm", _native_batch_norm),
):
    _operator = getattr(torch.ops.aten, _name)
    FUSED |= dict.fromkeys((getattr(torch, _name), _operator, _operator.default), _handler)
