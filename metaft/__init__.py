"""metaft: few-shot learning, meta-learning, fine-tuning and distillation, compared on identical tasks."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from metaft.torchvision_import import install

__version__ = "0.1.0"

install()
del install

# Loaded on first use, so that `metaft --help` answers before torch is imported.
_EXPORTS = {
    "TaskBatch": "metaft.tasks.batch:TaskBatch",
    "additions": "metaft.additions",
    "families": "metaft.tasks",
    "learners": "metaft.learners",
    "models": "metaft.models",
    **{name: f"metaft.inner.rules:{name}" for name in ("SGD", "Momentum", "Adam", "MetaSGD", "LSLR")},
    **{name: f"metaft.inner.objectives:{name}" for name in ("L2ToStart", "L2AfterSteps", "KLToStart")},
    "TorchOptimiser": "metaft.outer.through_higher:TorchOptimiser",
    "select": "metaft.inner.scope:select",
    "meta_gradient": "metaft.outer.meta_gradient:meta_gradient",
    "meta_train": "metaft.training.loop:meta_train",
    "evaluate": "metaft.evaluation.evaluate:evaluate",
    "compare": "metaft.evaluation.benchmark:compare",
    "load": "metaft.estimator.load:load",
    "MetaftError": "metaft.errors:MetaftError",
}
__all__ = [
    "SGD",
    "MetaftError",
    "TaskBatch",
    "__version__",
    "compare",
    "evaluate",
    "families",
    "learners",
    "load",
    "meta_gradient",
    "meta_train",
    "models",
]

if TYPE_CHECKING:
    from metaft import learners, models
    from metaft import tasks as families
    from metaft.errors import MetaftError
    from metaft.estimator.load import load
    from metaft.evaluation.benchmark import compare
    from metaft.evaluation.evaluate import evaluate
    from metaft.inner.rules import SGD
    from metaft.outer.meta_gradient import meta_gradient
    from metaft.tasks.batch import TaskBatch
    from metaft.training.loop import meta_train


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module 'metaft' has no attribute {name!r}")
    module, _, attribute = _EXPORTS[name].partition(":")
    loaded = import_module(module)
    value = getattr(loaded, attribute) if attribute else loaded
    globals()[name] = value
    return value
