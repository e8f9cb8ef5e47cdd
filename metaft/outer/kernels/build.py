"""Operators of our own, built from C++ where a compiler is at hand."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

log = logging.getLogger("metaft")


def build(what: str, sources: Sequence[Path], shapes: Mapping[str, Callable[..., Tensor]]) -> bool:
    """Build operators and register them, once a machine: torch keeps them in its cache folder.

    Args:
        what: they are for, as said in the warning.
        sources: C++, one file after another, that registers them in torch's library ``metaft``.
        shapes: by their names, an empty tensor in place of each result.

    Returns:
        Whether they are there; if they cannot be built that is said, and torch's own are used.
    """
    from torch._inductor.codecache import CppCodeCache

    try:
        CppCodeCache.load("".join(source.read_text(encoding="utf-8") for source in sources), needs_vec_isa=True)
    except Exception as error:  # whatever a compiler may say
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        log.warning("the kernel for %s was not built, which is slower but the same: %s", what, reason)
        return False
    for name, shape in shapes.items():
        torch.library.register_fake(f"metaft::{name}")(shape)
    return True
