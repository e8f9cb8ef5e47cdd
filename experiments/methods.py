"""docs/methods.md from the tables: ``python -m experiments.methods``."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

from metaft.evaluation.report import markdown_table
from metaft.files import write_atomically
from metaft.learners import build
from metaft.models import Conv4
from metaft.settings.config import RunConfig, validated
from metaft.tables import COMPOSITIONS, META_TRAINED

PAGE = Path(__file__).parents[1] / "docs" / "methods.md"
TASKS: dict[str, dict[str, Any]] = {
    "5-way": {},
    "20-way": {"ways": 20},
    "mini-ImageNet": {"dataset": "mini-imagenet"},
    "sinusoid": {"dataset": "sinusoid"},
}
CLASSIFIERS = ("proto-maml", "protonet", "matching", "matching-fce", "r2d2")
"""Methods that answer with classes, and know no regression."""

INTRODUCTION = """# Methods

Every method of `metaft meta-train --learner NAME`, made from the package's own tables by `python -m experiments.methods`
(a test fails when this page is not what that command writes).

## With an inner loop

Fine-tuning on the support set is differentiated, or not, with respect to where it began. A method is a choice of what
adapts, how a step moves it, what it descends, and how the outer gradient is obtained. The defining part is fixed; every
other part can be changed: `--scope`, `--meta-scope`, `--rule`, `--objective`, `--estimator`. With `maml` all are free:

```
metaft meta-train --learner maml --scope biases --rule lslr --estimator finite-difference
```
"""

DEFAULTS = """
Inner rate and steps (steps at test, where they differ) unless they are given, as published where something was; rates
are for a *mean* support loss: where the authors' code sums it over classes, theirs is multiplied by the ways. What each
paper says, and where we deviate, stands in the method's docstring (`metaft/learners/compositions/`).
"""

OTHERS = """
## Without an inner loop

These learn features end to end through episodes and answer in one pass (`metaft/learners/metric/`).
"""


OPTIONS = """
Their own options stand behind the name: `protonet:distance=cosine`, or `matching:learned_scale=true` (plain cosines keep
probabilities far from 1). R2-D2's penalty stands against the sum of the squared errors and is trained, as in its paper.
`r2d2:fit=mean,fixed_regularisation=true,regularisation=50` is as in its code: against their mean, and it stays at 50.
`metaft meta-train --learner NAME --help` lists a learner's options.
"""


def page() -> str:
    """The whole page as Markdown."""
    network = Conv4(1, 28, 5, hidden=4)
    heads = ["method", "what adapts", "rule", "objective", "estimator", "meta-trained", "paper"]
    composed = [_composition(name, build(name, network).describe()) for name in COMPOSITIONS]
    rates = [[f"`{name}`", *(_rate(name, kind) for kind in TASKS)] for name in COMPOSITIONS]
    metric = [[f"`{name}`", _what(name), _paper(name)] for name in META_TRAINED if name not in COMPOSITIONS]
    return "\n".join(
        [
            INTRODUCTION,
            markdown_table(heads, composed),
            DEFAULTS,
            markdown_table(["method", *TASKS], rates),
            OTHERS,
            markdown_table(["method", "what it is", "paper"], metric),
            OPTIONS.rstrip("\n") + "\n",
        ]
    ).replace("\n\n\n", "\n\n")


def _composition(name: str, told: dict[str, object]) -> list[object]:
    objective = "task loss" if told["objective"] == "task" else f"task loss + {told['objective']} to the start"
    adapts, estimator = str(told["scope"]), str(told["estimator"])
    adapts += ", the head from each task's prototypes" if told.get("start") == "prototypes" else ""
    adapts += " but norms, which have values for each step" if told.get("per_step_norm") else ""
    estimator += f" ({told['annealing']})" if told.get("annealing") else ""
    trained = str(told["meta_scope"]).replace(",rates", "" if told["rule"] in ("SGD", "RMSProp") else ", learned rates")
    return [f"`{name}`", adapts, told["rule"], objective, estimator, trained, _paper(name)]


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


def _what(name: str) -> str:
    return (inspect.getdoc(META_TRAINED[name]) or "").splitlines()[0].rstrip(".")


if __name__ == "__main__":
    write_atomically(PAGE, page().encode())
