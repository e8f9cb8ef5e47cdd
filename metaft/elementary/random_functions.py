"""Whatever draws random numbers, by the draws of the task where it has a key."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from metaft.elementary import random_layers
from metaft.errors import MetaftError

if TYPE_CHECKING:
    from metaft.elementary.mode import Elementary

Handler = Callable[..., Any]


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


def without_a_stream(mode: Elementary, func: Handler, /, *args: Any, **kwargs: Any) -> Any:
    """Refuse what cannot be drawn again, where the task has a key."""
    if mode.key is None or kwargs.get("generator") is not None:
        return func(*args, **kwargs)
    name = getattr(func, "__name__", func)
    raise MetaftError(
        f"torch's {name} draws from a generator that tasks share, so that nothing computed again would be the same; "
        "use rand, randn, bernoulli, randint, multinomial or dropout, or give it a generator of your own"
    )


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

RANDOM: dict[Any, Handler] = {function: partial(_dropout, written) for function, written in _DROPOUTS.items()}
RANDOM |= {
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
RANDOM |= {
    torch.rrelu_: partial(_random_in_place, random_layers.rrelu),
    torch.dropout_: partial(_random_in_place, random_layers.dropout),
    torch.feature_dropout_: partial(_random_in_place, random_layers.dropout2d),
    torch.alpha_dropout_: partial(_random_in_place, random_layers.alpha_dropout),
    torch.feature_alpha_dropout_: partial(_random_in_place, random_layers.feature_alpha_dropout),
}

RANDOM |= dict.fromkeys(
    (
        torch.poisson,
        torch.binomial,
        torch.Tensor.cauchy_,
        torch.Tensor.geometric_,
        torch.Tensor.log_normal_,
        torch.Tensor.random_,
    ),
    without_a_stream,
)
