"""Inside which transforms of torch.func a function runs."""

from __future__ import annotations

import torch
from torch import Tensor
from torch._C._functorch import TransformType, maybe_get_level, peek_interpreter_stack
from torch._functorch.pyfunctorch import retrieve_all_functorch_interpreters


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


def captured(x: Tensor) -> bool:
    """Whether a tensor comes from outside the innermost function that is differentiated."""
    if torch.compiler.is_dynamo_compiling() or peek_interpreter_stack() is None:
        return False
    levels = retrieve_all_functorch_interpreters()
    innermost = max((level.level() for level in levels if level.key() != TransformType.Vmap), default=None)
    if innermost is None:
        return maybe_get_level(x) < 0 and not x._is_view()
    return maybe_get_level(x) < innermost
