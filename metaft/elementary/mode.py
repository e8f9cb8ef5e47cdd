"""Within this mode torch's layers are right under every transform that the engine applies to them.

``Elementary`` is entered wherever a function of one task runs (``metaft.inner.batching.over_tasks``), whoever wrote
that function. It replaces

- norms, within a ``torch.func.vmap`` and in compiled code: fused, their second derivative is wrong there;
- attention and recurrent layers, wherever something is differentiated: fused, they have no second derivative, or
  cannot be batched;
- whatever draws random numbers, where the task has a key: its draws are then the same in every recomputation;
- changes in place of what the function did not make itself, such as a buffer that counts: they stay its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch._C._functorch import peek_interpreter_stack
from torch.overrides import TorchFunctionMode, _get_current_function_mode_stack
from torch.utils._pytree import tree_map_only

from metaft.elementary import draws, random_layers
from metaft.elementary.fused import FUSED
from metaft.elementary.in_place import IN_PLACE
from metaft.elementary.levels import captured
from metaft.elementary.packing import current
from metaft.elementary.random_functions import RANDOM

TABLE: dict[Any, Callable[..., Any]] = IN_PLACE | FUSED | RANDOM
"""Torch's functions, and what is called in their place: ``handler(mode, function, *args, **kwargs)``."""


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
        if isinstance(kwargs.get("out"), Tensor) and captured(kwargs["out"]):
            out = kwargs.pop("out")
            self.keep(out, func(*args, **kwargs))
            return out
        if func in TABLE:
            return TABLE[func](self, func, *args, **kwargs)
        if torch.compiler.is_dynamo_compiling() and getattr(func, "__name__", "") == "unflatten":
            # The method calls its parent's, which the tracer does not find within a mode; nor does it in the table.
            return torch.unflatten(*args, **kwargs)
        return func(*args, **kwargs)

    def draw(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        """The next uniform numbers of this task."""
        assert self.key is not None
        self.calls += 1
        packing = current()
        if packing is None or tuple(shape[:2]) != (1, len(packing.index)):
            return draws.uniform(self.key, self.calls, shape, dtype)
        # Packed words draw as they would among their padding.
        if self.key.dim():
            return packing.packed(draws.uniform(self.key, self.calls, (*packing.inverse.shape, *shape[2:]), dtype))
        return draws.uniform(self.key, self.calls, shape, dtype, packing.index)

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
