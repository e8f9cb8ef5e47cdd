"""Random forest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from metaft.learners.heads.head import Fitted, require_labels
from metaft.learners.heads.per_task import per_task
from metaft.seeds import require_seed
from metaft.validate import require_count


@dataclass(frozen=True)
class Forest:
    """Decision trees on bootstrap samples of the support set (Breiman 2001), by scikit-learn, task after task.

    Every task is given the same seed, so its forest does not depend on the other tasks of a batch; what is counted
    as fitted are the nodes of the trees.

    Args:
        trees: how many.
        seed: of bootstrap samples and of the features tried at a split.
    """

    trees: int = 100
    seed: int = 0
    solvers: ClassVar[tuple[str, ...]] = ("scikit-learn",)

    def __post_init__(self) -> None:
        require_count(self.trees, "trees", 1)
        require_seed(self.seed)

    def fit(self, x: Tensor, y: Tensor, outputs: int) -> Fitted:
        """Grow a forest for each task (see ``Head``)."""
        from sklearn.ensemble import RandomForestClassifier

        require_labels(y, "head 'forest'")
        make = lambda: RandomForestClassifier(self.trees, random_state=self.seed)
        nodes = lambda forest: sum(tree.tree_.node_count for tree in forest.estimators_)
        return per_task(make, x, y, outputs, nodes)

    def describe(self) -> dict[str, Any]:
        """Its settings, flat."""
        return {"trees": self.trees, "seed": self.seed, "solver": "scikit-learn"}
