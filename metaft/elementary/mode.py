"""Within this mode torch's layers are right under every transform that the engine applies to them.

``Elementary`` is entered wherever a function of one task runs (``metaft.inner.tasks.over_tasks``), whoever wrote that
function. It replaces

- norms, within a ``torch.func.vmap`` and in compiled code: fused, their second derivative is wrong there;
- attention and recurrent layers, wherever something is differentiated: fused, they have no second derivative, or
  cannot be batched;
- whatever draws random numbers, where the task has a key: its draws are then the same in every recomputation;
- changes in place of what the function did not make itself, such as a buffer that counts: they stay its own.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch._C._functorch import TransformType, maybe_get_level, peek_interpreter_stack
from torch._functorch.pyfunctorch import retrieve_all_functorch_interpreters
from torch.overrides import TorchFunctionMode, _get_current_function_mode_stack
from torch.utils._pytree import tree_map_only

from metaft.elementary import draws, functions, norms, random_layers, recurrent
from metaft.elementary.attention import attention
from metaft.elementary.batch_norm import normalise, var_mean
from metaft.elementary.max_pooling import max_pool2d, plain_max_pool2d
from metaft.errors import MetaftError

Handler = Callable[..., Any]


class Elementary(TorchFunctionMode):
    """Torch's functions, some of them written out (see the module).

    Args:
        key: of the task's random numbers, an ``int64`` scalar; None leaves them to torch's generator. Where a minibatch
            of independent examples runs, ``[examples]``.
        moving: whether batch norm moves the running statistics that it is given, as in ordinary training.
    """

    def __init__(self, key: Tensor | None = None, moving: bool = False) -> None:
        super().__init__()
        self.key, self.moving, self.calls = key, moving, 0
        self.own: dict[int, tuple[Tensor, Tensor]] = {}

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Call what stands in the table for a function, or the function."""
        kwargs = kwargs or {}
        if self.own:
            args, kwargs = self.with_own((args, kwargs))
        if isinstance(kwargs.get("out"), Tensor) and _captured(kwargs["out"]):
            out = kwargs.pop("out")
            self.keep(out, func(*args, **kwargs))
            return out
        if func in TABLE:
            return TABLE[func](self, func, *args, **kwargs)
        return func(*args, **kwargs)

    def draw(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        """The next uniform numbers of this task."""
        assert self.key is not None
        self.calls += 1
        return draws.uniform(self.key, self.calls, shape, dtype)

    def thin(self, x: Tensor, p: float) -> Tensor:
        """Dropout."""
        if self.key is None:
            return F.dropout(x, p)
        return random_layers.thinned(self.draw, x, p)

    def with_own(self, value: Any) -> Any:
        """The same, with what was changed in place instead of what it was."""
        if not self.own:
            return value
        return tree_map_only(Tensor, lambda t: self.own.get(id(t), (t, t))[1], value)

    def keep(self, tensor: Tensor, value: Tensor) -> Tensor:
        """From now on take a value for a tensor, which is left as it is."""
        self.own[id(tensor)] = tensor, value
        return value


def written_out() -> AbstractContextManager[object]:
    """The mode, where something is transformed outside of the engine; within the engine it is there already."""
    if torch.compiler.is_dynamo_compiling() or peek_interpreter_stack() is None:
        return nullcontext()
    there = any(isinstance(mode, Elementary) for mode in _get_current_function_mode_stack())
    return nullcontext() if there else Elementary()


def batched() -> bool:
    """Whether we are inside a ``torch.func.vmap``, or compile, where fused layers are written out too."""
    if torch.compiler.is_dynamo_compiling():
        return True
    if peek_interpreter_stack() is None:
        return False
    return any(level.key() == TransformType.Vmap for level in retrieve_all_functorch_interpreters())


def transformed() -> bool:
    """Whether we are inside any transform of ``torch.func``, or compile."""
    return torch.compiler.is_dynamo_compiling() or peek_interpreter_stack() is not None


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


def _native_group_norm(
    mode: Elementary,
    func: Handler,
    /,
    x: Tensor,
    weight: Any,
    bias: Any,
    n: int,
    c: int,
    hw: int,
    group: int,
    eps: float,
) -> Any:
    if not batched():
        return func(x, weight, bias, n, c, hw, group, eps)
    found = norms.group_norm(x, group, weight, bias, eps)
    return found, *(v.squeeze(-1) for v in norms.statistics(x.reshape(n, group, -1), (-1,), eps))


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


def _random(written: Handler, mode: Elementary, func: Handler, /, *args: Any, **kwargs: Any) -> Any:
    """A random function, by the task's draws where it has a key and no generator is named."""
    if mode.key is None or kwargs.get("generator") is not None:
        return func(*args, **kwargs)
    kwargs.pop("generator", None)
    return written(mode.draw, *args, **kwargs)


def _random_in_place(written: Handler, mode: Elementary, func: Handler, /, x: Tensor, *args: Any, **kwargs: Any) -> Any:
    if mode.key is None or kwargs.get("generator") is not None:
        return func(x, *args, **kwargs)
    kwargs.pop("generator", None)
    return mode.keep(x, written(mode.draw, x, *args, **kwargs))


def _dropout(written: Handler, mode: Elementary, func: Handler, /, *args: Any, **kwargs: Any) -> Any:
    """Dropout by the task's draws; in place where that is asked for, as others may hold the tensor."""
    if mode.key is None:
        return func(*args, **kwargs)
    found, place = written(mode.draw, *args, **kwargs), 4 if func is F.rrelu else 3
    x = kwargs.get("input", args[0] if args else None)
    inplace = kwargs.get("inplace", args[place] if len(args) > place else False)
    return mode.keep(x, found) if inplace and isinstance(x, Tensor) and x is not found else found


def _size(*size: Any) -> tuple[int, ...]:
    return tuple(size[0]) if len(size) == 1 and not isinstance(size[0], int) else size


def _factory(draw: random_layers.Draw, uniform: bool, *size: Any, **more: Any) -> Tensor:
    shape = _size(*(size or (more["size"],)))
    dtype = more.get("dtype") or torch.get_default_dtype()
    return draw(shape, dtype) if uniform else random_layers.standard_normal(draw, shape, dtype)


def _like(draw: random_layers.Draw, uniform: bool, x: Tensor, **more: Any) -> Tensor:
    return _factory(draw, uniform, x.shape, dtype=more.get("dtype") or x.dtype)


def _randint(draw: random_layers.Draw, *args: Any, **more: Any) -> Tensor:
    low = more.pop("low", 0)
    *bounds, size = args if "size" not in more else (*args, more["size"])
    bounds = [*bounds, more["high"]] if "high" in more else bounds
    first, last = [low, *bounds][-2:]
    return random_layers.whole_numbers(draw, first, last, _size(size), more.get("dtype"))


def _randint_like(draw: random_layers.Draw, x: Tensor, *bounds: int, **more: Any) -> Tensor:
    first, last = [0, *bounds][-2:]
    return random_layers.whole_numbers(draw, first, last, x.shape, more.get("dtype") or x.dtype)


def _randperm(draw: random_layers.Draw, n: int, **more: Any) -> Tensor:
    return draw((n,), torch.float64).argsort()


def _uniform_(draw: random_layers.Draw, x: Tensor, low: float = 0.0, high: float = 1.0) -> Tensor:
    return low + (high - low) * draw(x.shape, x.dtype)


def _normal_(draw: random_layers.Draw, x: Tensor, mean: float = 0.0, std: float = 1.0) -> Tensor:
    return mean + std * random_layers.standard_normal(draw, x.shape, x.dtype)


def _exponential_(draw: random_layers.Draw, x: Tensor, lambd: float = 1.0) -> Tensor:
    return -torch.log(draw(x.shape, x.dtype)) / lambd


def _bernoulli_(draw: random_layers.Draw, x: Tensor, p: Any = 0.5) -> Tensor:
    return (draw(x.shape, torch.float64) < p).to(x.dtype)


def _fractional(axes: int, mode: Elementary, func: Handler, /, input: Tensor, *args: Any, **kwargs: Any) -> Any:
    """Fractional pooling (Graham 2014) at places of the task's draws."""
    names = ("kernel_size", "output_size", "output_ratio", "return_indices", "_random_samples")
    given = dict(zip(names, args, strict=False)) | kwargs
    if mode.key is not None and given.get("_random_samples") is None:
        examples = input.shape[0] if input.dim() == axes + 2 else 1
        given["_random_samples"] = mode.draw((examples, input.shape[-axes - 1], axes), input.dtype)
    return func(input, **given)


def _without_a_stream(mode: Elementary, func: Handler, /, *args: Any, **kwargs: Any) -> Any:
    if mode.key is None or kwargs.get("generator") is not None:
        return func(*args, **kwargs)
    name = getattr(func, "__name__", func)
    raise MetaftError(
        f"torch's {name} draws from a generator that tasks share, so that nothing computed again would be the same; "
        "use rand, randn, bernoulli, randint, multinomial or dropout, or give it a generator of your own"
    )


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


def _in_place(mode: Elementary, func: Handler, /, x: Any, *args: Any, **kwargs: Any) -> Any:
    """A change in place: of what the function was given, a copy is changed, and met wherever the tensor is used."""
    if not isinstance(x, Tensor) or not _captured(x):
        return func(x, *args, **kwargs)
    mine = mode.keep(x, x.clone())
    found = func(mine, *args, **kwargs)
    # The tensor itself: ``self.count += 1`` stores it, and the copy must not outlive the transform.
    return x if found is mine else found


def _captured(x: Tensor) -> bool:
    """Whether a tensor comes from outside the innermost function that is differentiated."""
    if torch.compiler.is_dynamo_compiling() or peek_interpreter_stack() is None:
        return False
    levels = retrieve_all_functorch_interpreters()
    innermost = max((level.level() for level in levels if level.key() != TransformType.Vmap), default=None)
    if innermost is None:
        return maybe_get_level(x) < 0 and not x._is_view()
    return maybe_get_level(x) < innermost


_IN_PLACE = [
    getattr(torch.Tensor, name)
    for name in dir(torch.Tensor)
    if name.endswith("_") and not name.endswith("__") and not name.startswith("_") and name != "requires_grad_"
] + [torch.Tensor.__setitem__]
_DROPOUTS: dict[Any, Handler] = {
    F.dropout: random_layers.dropout,
    F.dropout1d: random_layers.dropout1d,
    F.dropout2d: random_layers.dropout2d,
    F.dropout3d: random_layers.dropout3d,
    F.alpha_dropout: random_layers.alpha_dropout,
    F.feature_alpha_dropout: random_layers.feature_alpha_dropout,
    F.rrelu: random_layers.rrelu,
    torch.dropout: random_layers.dropout,
    torch.feature_dropout: random_layers.dropout2d,
    torch.alpha_dropout: random_layers.alpha_dropout,
    torch.feature_alpha_dropout: random_layers.feature_alpha_dropout,
    torch.rrelu: random_layers.rrelu,
}

TABLE: dict[Any, Handler] = dict.fromkeys(_IN_PLACE, _in_place)
TABLE |= {
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
    F.gumbel_softmax: partial(_random, random_layers.gumbel_softmax),
    torch.rand: partial(_random, lambda draw, *size, **more: _factory(draw, True, *size, **more)),
    torch.randn: partial(_random, lambda draw, *size, **more: _factory(draw, False, *size, **more)),
    torch.rand_like: partial(_random, lambda draw, x, **more: _like(draw, True, x, **more)),
    torch.randn_like: partial(_random, lambda draw, x, **more: _like(draw, False, x, **more)),
    torch.randint: partial(_random, _randint),
    torch.randint_like: partial(_random, _randint_like),
    torch.randperm: partial(_random, _randperm),
    torch.normal: partial(_random, random_layers.normal),
    torch.bernoulli: partial(_random, random_layers.bernoulli),
    torch.Tensor.bernoulli: partial(_random, random_layers.bernoulli),
    torch.multinomial: partial(_random, random_layers.multinomial),
    torch.Tensor.multinomial: partial(_random, random_layers.multinomial),
    torch.Tensor.uniform_: partial(_random_in_place, _uniform_),
    torch.Tensor.normal_: partial(_random_in_place, _normal_),
    torch.Tensor.exponential_: partial(_random_in_place, _exponential_),
    torch.Tensor.bernoulli_: partial(_random_in_place, _bernoulli_),
    F.fractional_max_pool2d: partial(_fractional, 2),
    F.fractional_max_pool2d_with_indices: partial(_fractional, 2),
    F.fractional_max_pool3d: partial(_fractional, 3),
    F.fractional_max_pool3d_with_indices: partial(_fractional, 3),
}
for _name, _handler in (
    ("native_layer_norm", _native_layer_norm),
    ("native_group_norm", _native_group_norm),
    ("native_batch_norm", _native_batch_norm),
):
    _operator = getattr(torch.ops.aten, _name)
    TABLE |= dict.fromkeys((getattr(torch, _name), _operator, _operator.default), _handler)
TABLE |= {function: partial(_dropout, written) for function, written in _DROPOUTS.items()}
TABLE |= {
    torch.rrelu_: partial(_random_in_place, random_layers.rrelu),
    torch.dropout_: partial(_random_in_place, random_layers.dropout),
    torch.feature_dropout_: partial(_random_in_place, random_layers.dropout2d),
    torch.alpha_dropout_: partial(_random_in_place, random_layers.alpha_dropout),
    torch.feature_alpha_dropout_: partial(_random_in_place, random_layers.feature_alpha_dropout),
}
TABLE |= dict.fromkeys(
    (
        torch.poisson,
        torch.binomial,
        torch.Tensor.cauchy_,
        torch.Tensor.geometric_,
        torch.Tensor.log_normal_,
        torch.Tensor.random_,
    ),
    _without_a_stream,
)
