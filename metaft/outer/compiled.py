"""torch.compile where a C++ compiler is at hand; eager, said once, where not."""

from __future__ import annotations

import gc
import logging
import shutil
import threading
import time
import types
from collections.abc import Callable, Sequence
from functools import lru_cache, wraps
from typing import Any, TypeVar

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_is_leaf, tree_leaves, tree_map

from metaft.errors import first_line
from metaft.inner.batching import channels_last
from metaft.kept import kept

log = logging.getLogger("metaft")
MOST_VALUES = 2**25
"""Values of one tensor beyond which a computation over images is not compiled: 128 MiB, beyond every cache."""
_TORCH = ("G['__import_torch_dot_", "__import__('torch')", "list(dict.keys(__import__('torch')")
_LIBRARIES = (*_TORCH, "G['__import_metaft_dot_", "G['__builtins")
_PRIVATE = ("._by_batch", "._by_running")
"""Copies of the network that `Functional` made for itself: nobody else holds them."""
Function = TypeVar("Function", bound=Callable[..., Any])


class _Spent:
    """What compiling has taken so far; one thread at a time compiles."""

    def __init__(self) -> None:
        self.building = threading.Lock()
        self.seconds = 0.0


_spent = _Spent()


def seconds_compiling() -> float:
    """Seconds that this process has spent in first calls of compiled functions, which is mostly compiling."""
    return _spent.seconds


def cache_folder() -> str:
    """Where torch keeps what it compiled, ``TORCHINDUCTOR_CACHE_DIR`` if set; the next process finds it there."""
    from torch._inductor.runtime.cache_dir_utils import cache_dir  # imports the compiler

    return str(cache_dir())


@lru_cache(maxsize=1)
def compiler_found() -> bool:
    """Whether torch.compile can build CPU code here; warns once if not."""
    found = any(shutil.which(name) for name in ("c++", "g++", "clang++"))
    if not found:
        log.warning("no C++ compiler found (g++ or clang++): running uncompiled, which is slower but the same")
    return found


def compile_if_possible(function: Function) -> Function:
    """Compile a function, or call it as it is where that cannot be done; no gradient is recorded either way.

    Args:
        function: of tensors and dictionaries of tensors, pure but for what it may change in place.

    Returns:
        The compiled function, the same one for the same function; compiling happens at its first call, and is cached
        on disk by torch. What cannot be compiled runs as it is, which is said once.
    """
    return kept(function).once(compile_if_possible, lambda: _compiled(function))


def _compiled(function: Function) -> Function:
    if not compiler_found():
        return torch.no_grad()(function)  # as compiled below
    # Torch's compiler takes as long to import as all the rest: only here, where something is compiled.
    from metaft.outer.kernels.passes import passes

    # On a CPU the whole graph becomes one C++ call, which releases the interpreter's lock: otherwise the fused kernels
    # hold it, and worker threads wait for each other.
    ours = str(getattr(function, "__module__", "")).startswith("metaft.")
    options: dict[str, Any] = {"guard_filter_fn": lambda guards: _worth_a_guard(guards, ours)}
    if not torch.cuda.is_available():
        options["cpp_wrapper"] = True
        options["post_grad_custom_post_pass"] = passes()
    built = torch.compile(_with_own_code(function), fullgraph=True, dynamic=False, options=options)
    seen: set[tuple[torch.Size, ...]] = set()
    refused: list[Exception] = []

    @wraps(function)
    def run(*args: Any) -> Any:
        shapes = tuple(a.shape for a in args if isinstance(a, torch.Tensor))
        with torch.no_grad():
            if shapes in seen:
                return built(*args)
            if refused:
                return function(*args)
            with _spent.building:  # two worker threads that meet a new shape would both compile it
                if shapes not in seen and not refused:
                    _raise_limits()
                    gc.collect()  # compiled functions refer to themselves: those of learners that are gone go here
                    start = time.perf_counter()
                    try:
                        result = built(*args)
                    except Exception as error:
                        refused.append(error)
                    else:
                        seen.add(shapes)
                        return result
                    finally:
                        _spent.seconds += time.perf_counter() - start
            if not refused:
                return built(*args)
            result = function(*args)  # an error of its own comes from here, without the compiler's words
            log.warning("running uncompiled, which is slower but the same: %s", first_line(refused[0]))
            return result

    return run  # type: ignore[return-value]


def compile_if_small(function: Function) -> Function:
    """Compile a computation over images, unless its tensors are so large that it would not pay.

    Args:
        function: takes dictionaries of tensors and tensors.

    Returns:
        The function. The first time it meets a shape its tensors are counted: with one of more than ``MOST_VALUES``
        it is limited by memory traffic and stays uncompiled. Layouts are settled, so that nothing is compiled twice
        for the sake of one.
    """
    return kept(function).once(compile_if_small, lambda: _compiled_if_small(function))


def _compiled_if_small(function: Function) -> Function:
    built = compile_if_possible(function)
    small: dict[tuple[torch.Size, ...], bool] = {}

    @wraps(function)
    def run(*args: Any) -> Any:
        shapes = tuple(a.shape for a in args if isinstance(a, torch.Tensor))
        if shapes not in small:
            # What it gives is thrown away: a run that is resumed must compute its first iteration as all others.
            with torch.no_grad(), _Largest() as largest:
                function(*args)
            small[shapes] = largest.values <= MOST_VALUES
        if small[shapes]:
            return built(*_settled(args))
        with torch.no_grad():
            return function(*args)

    return run  # type: ignore[return-value]


def _with_own_code(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same function with a copy of its code.

    Torch keeps what it compiled, and what that assumed, with the code. Functions of several settings that share it
    would be checked against each other's assumptions at each call, and torch fails where one's dictionaries lack a key
    that another's have.
    """
    if not isinstance(function, types.FunctionType):
        return function
    code, own = function.__code__.replace(), function.__closure__
    copy = types.FunctionType(code, function.__globals__, function.__name__, function.__defaults__, own)
    copy.__kwdefaults__ = function.__kwdefaults__
    return copy


def _worth_a_guard(guards: Sequence[Any], ours: bool = False) -> list[bool]:
    """Which of the assumptions that were compiled in are checked at each call: all but those about library code.

    There are hundreds of them for a small network, a tenth of the time of its meta-gradient. What a caller may change
    between calls stays guarded: tensors, rates, attributes of objects, classes and modules, globals of their own code.
    Not guarded is what belongs to torch, such as hooks on all modules at once, and what nobody else can reach.
    """

    def known(name: str) -> bool:
        # A global without the name of a module is one of the function's own module.
        own = ours and name.startswith("G['") and not name.startswith("G['__import_")
        return own or name.startswith(_LIBRARIES) or any(copy in name for copy in _PRIVATE)

    return [not known(guard.name) for guard in guards]


def _raise_limits() -> None:
    """Let this thread compile one function for more than 8 shapes: torch keeps its limits by thread."""
    import torch._dynamo.config as limits  # imports the compiler

    limits.recompile_limit = max(limits.recompile_limit, 256)
    limits.allow_rnn = True  # written out, recurrent layers are operations like others
    limits.accumulated_recompile_limit = max(limits.accumulated_recompile_limit, 4096)


class _Largest(TorchDispatchMode):
    """Within this context, the number of values of the largest tensor that is made."""

    def __init__(self) -> None:
        super().__init__()
        self.values = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        self.values = max([self.values, *(t.numel() for t in tree_leaves(made) if isinstance(t, torch.Tensor))])
        return made


def _settled(value: Any) -> Any:
    """The same tensors with their channels last in memory, or one after another; a tree of torch's own takes longer."""
    if isinstance(value, torch.Tensor):
        images = value.dim() == 4 or (value.dim() == 5 and value.stride(-3) == 1)
        return channels_last(value) if images else value.contiguous()
    if type(value) is dict:
        return {name: _settled(inside) for name, inside in value.items()}
    if type(value) is tuple:
        return tuple(_settled(inside) for inside in value)
    return tree_map(_settled, value) if not tree_is_leaf(value) else value
