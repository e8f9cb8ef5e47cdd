"""torch.compile where a C++ compiler is at hand; eager, said once, where not."""

from __future__ import annotations

import logging
import shutil
import threading
from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Any, TypeVar

import torch
import torch._dynamo.config
from torch.utils._pytree import tree_map

from metaft.inner.tasks import channels_last

log = logging.getLogger("metaft")
MOST_VALUES = 2**15
"""Input values a task beyond which a piece is not compiled."""
Function = TypeVar("Function", bound=Callable[..., Any])


@lru_cache(maxsize=1)
def compiler_found() -> bool:
    """Whether torch.compile can build CPU code here; warns once if not."""
    found = any(shutil.which(name) for name in ("c++", "g++", "clang++"))
    if not found:
        log.warning("no C++ compiler found (g++ or clang++): running uncompiled, which is slower but the same")
    return found


@lru_cache(maxsize=64)
def compile_if_possible(function: Function) -> Function:
    """Compile a function, or give it back as it is where no compiler is found.

    Args:
        function: a pure function of tensors and dictionaries of tensors.

    Returns:
        The compiled function; compiling happens at its first call, and is cached on disk by torch.
    """
    if not compiler_found():
        return function
    # Torch counts compilations by code, not by function: learners of one process share the same few lines here, and
    # the default limit of 8 would refuse the ninth setting.
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, 256)
    torch._dynamo.config.accumulated_recompile_limit = max(torch._dynamo.config.accumulated_recompile_limit, 4096)
    # On a CPU the whole graph becomes one C++ call, which releases the interpreter's lock: otherwise the fused kernels
    # hold it, and worker threads wait for each other.
    options: dict[str, Any] | None = None if torch.cuda.is_available() else {"cpp_wrapper": True}
    built = torch.compile(function, fullgraph=True, dynamic=False, options=options)
    seen: set[tuple[torch.Size, ...]] = set()
    building = threading.Lock()

    @wraps(function)
    def run(*args: Any) -> Any:
        shapes = tuple(a.shape for a in args if isinstance(a, torch.Tensor))
        with torch.no_grad():
            if shapes in seen:
                return built(*args)
            with building:  # two worker threads that meet a new shape would both compile it
                result = built(*args)
                seen.add(shapes)
                return result

    return run  # type: ignore[return-value]


def compile_piece(function: Function, images: int) -> Function:
    """Compile a computation over images, where that pays.

    Args:
        function: takes dictionaries of tensors and tensors.
        images: which of its arguments holds the images it is run on, ``[tasks, examples, channels, height, width]``.

    Returns:
        The function, compiled for tasks of few or small images; larger ones are limited by memory traffic, where
        torch's own kernels with channels last were quicker (a query pass of 75 images with max-pooling: 41 ms, compiled
        70 ms). Layouts are settled first, so that nothing is compiled twice for the sake of one.
    """
    built = compile_if_possible(function)

    @wraps(function)
    def run(*args: Any) -> Any:
        if args[images][0].numel() > MOST_VALUES:
            with torch.no_grad():
                return function(*args)
        return built(*tree_map(_settled, args))

    return run  # type: ignore[return-value]


def _settled(x: torch.Tensor) -> torch.Tensor:
    return channels_last(x) if x.dim() == 4 or (x.dim() == 5 and x.stride(-3) == 1) else x.contiguous()
