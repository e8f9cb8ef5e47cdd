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

log = logging.getLogger("metaft")
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
