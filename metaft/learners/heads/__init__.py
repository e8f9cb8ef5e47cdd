"""Heads of feature extraction by name."""

from __future__ import annotations

import dataclasses
from typing import Any

from metaft.errors import MetaftError, nearest
from metaft.learners.heads.head import Fitted, Head
from metaft.learners.heads.nearest_mean import NearestMean
from metaft.learners.heads.neighbours import Neighbours
from metaft.tables import HEADS

__all__ = ["HEADS", "Fitted", "Head", "NearestMean", "Neighbours", "build_head"]


def build_head(name: str, solver: str = "auto", seed: int = 0, **given: Any) -> Head:
    """Make a head by name.

    Args:
        name: of the table `HEADS`.
        solver: "auto" (the batched one where there is one), "batched" or "scikit-learn".
        seed: for a head that draws at random; the others do not care.
        given: the head's own options; None leaves its default.

    Returns:
        The head.

    Raises:
        MetaftError: if the name is unknown, the head has no such option or solver, or a value does not fit.
    """
    kind: Any = HEADS[name]  # a dataclass; its ``solvers`` begin with the one that is default
    known = {field.name for field in dataclasses.fields(kind)}
    drawn = {"seed": seed} if "seed" in known else {}
    chosen = drawn | {option: value for option, value in given.items() if value is not None}
    for option in chosen:
        if option not in known:
            has = ", ".join(sorted(known - {"seed", "solver"})) or "none"
            raise MetaftError(f"head {name!r} has no option {option!r}; its options: {has}")
    if solver not in ("auto", *kind.solvers):
        raise MetaftError(f"head {name!r} has no solver {solver!r}{nearest(solver, ('auto', *kind.solvers))}")
    if "solver" in known:
        chosen["solver"] = kind.solvers[0] if solver == "auto" else solver
    return kind(**chosen)
