"""What came of one case, in a process of its own (which could not find what stands in a ``__main__``)."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from typing import Any

import torch

from experiments.heard import heard
from metaft.errors import MetaftError, first_line
from tests.any_module.cases import CASES
from tests.any_module.comparisons import errors


def prepare() -> None:
    """Each process has one thread, so that numbers do not depend on how many there are."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")


def case(name: str, compile_it: bool) -> dict[str, Any]:
    """What came of one case.

    Args:
        name: which.
        compile_it: compare compiled code too.

    Returns:
        ``errors`` by comparison, relative to the whole gradient's norm; ``raised`` likewise, what was said instead;
        ``alone``, whether tasks were computed one by one; ``refused`` in which words, or None.
    """
    with heard("metaft") as said:
        found = errors(CASES[name], compile_it)
    return {
        "of": CASES[name].of,
        "compiled": compile_it,
        "errors": {w: e for w, e in found.items() if not isinstance(e, Exception) and math.isfinite(e)},
        "raised": raised(found),
        "alone": any("one by one" in line for line in said),
        "refused": next((str(e) for e in found.values() if isinstance(e, MetaftError)), None),
    }


def raised(found: Mapping[str, float | Exception]) -> dict[str, str]:
    """What was raised instead of an error that is a number, a line each."""
    said = {w: f"{type(e).__name__}: {first_line(e)}" for w, e in found.items() if isinstance(e, Exception)}
    return said | {w: "not finite" for w, e in found.items() if isinstance(e, float) and not math.isfinite(e)}
