"""docs/methods.md from the tables: ``python -m experiments.methods``."""

from __future__ import annotations

import inspect
from typing import Any

from experiments.pages import ROOT, render
from metaft.files import write_atomically
from metaft.learners import build
from metaft.models import Conv4
from metaft.settings.config import RunConfig, validated
from metaft.tables import COMPOSITIONS, FROZEN, META_TRAINED

PAGE = ROOT / "docs" / "methods.md"
TASKS: dict[str, dict[str, Any]] = {"5-way": {}, "20-way": {"ways": 20}, "mini-ImageNet": {"dataset": "mini-imagenet"},
                                    "sinusoid": {"dataset": "sinusoid"}}  # fmt: skip
CLASSIFIERS = ("proto-maml", "protonet", "matching", "matching-fce", "r2d2")
"""Methods that answer with classes, and know no regression."""


def page() -> str:
    """The whole page as Markdown."""
    network = Conv4(1, 28, 5, hidden=4)
    # Not every learner says all of these.
    may_say = dict.fromkeys(("start", "per_step_norm", "annealing"))
    return render(
        "experiments/methods.md.j2",
        composed={name: may_say | build(name, network).describe() for name in COMPOSITIONS},
        papers={name: _paper(name) for name in META_TRAINED},
        kinds=list(TASKS),
        rates=[[f"`{name}`", *(_rate(name, kind) for kind in TASKS)] for name in COMPOSITIONS],
        metric={name: _what(META_TRAINED[name]) for name in META_TRAINED if name not in COMPOSITIONS},
        frozen={name: _what(FROZEN[name]) for name in FROZEN},
    )


def _rate(name: str, kind: str) -> str:
    if kind == "sinusoid" and name in CLASSIFIERS:
        return "–"
    config = validated(RunConfig, {"learner": name, **TASKS[kind]})
    at_test = f" ({config.test_steps})" if config.test_steps is not None else ""
    return f"{config.inner_lr:g}, {config.steps}{at_test}"


def _paper(name: str) -> str:
    """From the last brackets of the module's first line."""
    _, found, source = (inspect.getdoc(inspect.getmodule(META_TRAINED[name])) or "").splitlines()[0].rpartition("(")
    return source.rstrip(".)") if found else "–"


def _what(builder: Any) -> str:
    return (inspect.getdoc(builder) or "").splitlines()[0].rstrip(".")


if __name__ == "__main__":
    write_atomically(PAGE, page().encode())
