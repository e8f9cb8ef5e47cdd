"""A learner's graph with its inputs, by torch.export; and what is said of them beside it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from metaft.elementary.packing import padded
from metaft.errors import MetaftError, first_line
from metaft.export.graph import Answers, FitAndPredict, adapted, why_not_whole
from metaft.learners.learner import Learner
from metaft.tasks.family import Kind

LEAST = 3
"""Sample queries: of one or two torch would take the number for fixed."""
QUERIES, EXAMPLES, PLACES = "queries", "examples", "places"


@dataclass(frozen=True)
class Program:
    """A graph.

    Args:
        exported: of torch.export.
        inputs: name → shape and type, as JSON has them; a free size by its name.
        outputs: names.
    """

    exported: ExportedProgram
    inputs: dict[str, dict[str, Any]]
    outputs: tuple[str, ...]


def predictor(learner: Learner, support: Tensor, labels: Tensor, outputs: int, texts: bool) -> Program:
    """The answers to queries by one support set.

    Args:
        learner: any that answers by tensors.
        support: ``[examples, *input]``.
        labels: ``int64 [examples]``, or values ``[examples, outputs]``.
        outputs: how many classes or values.
        texts: whether examples are texts.

    Returns:
        A graph of any number of queries.

    Raises:
        MetaftError: for a learner whose answers are no graph.
    """
    classes = not labels.is_floating_point()
    module = Answers(adapted(learner, support, labels, outputs), outputs, classes)
    given = {QUERIES: _some(support)}
    if texts:
        given["lengths"] = _lengths(given[QUERIES])
    free: dict[str, dict[int, Any]] = {QUERIES: {0: Dim.DYNAMIC} | ({1: Dim.AUTO} if texts else {})}
    if texts:
        free["lengths"] = {0: Dim.DYNAMIC}
    return _followed(module, learner, given, free, "classification" if classes else "regression")


def fit_and_predict(learner: Learner, sample: Tensor, outputs: int, kind: Kind, texts: bool) -> Program:
    """A support set and queries in, answers out.

    Args:
        learner: any that is fitted by a formula.
        sample: some examples, ``[examples, *input]``.
        outputs: how many classes or values.
        kind: of the task.
        texts: whether examples are texts.

    Returns:
        A graph of any number of queries, and of support examples where the learner's formula allows.

    Raises:
        MetaftError: for a learner that is not fitted by one.
    """
    if why := why_not_whole(learner):
        raise MetaftError(
            f"{learner.name} without a support set is no graph: {why}; give --support, a folder of class folders or a "
            "table, to export the adapted predictor"
        )
    support = torch.cat([sample] * (-(-2 * outputs // len(sample)) + 1))[: 2 * outputs + 1]
    each = torch.arange(len(support))
    labels = each % outputs if kind == "classification" else torch.zeros(len(support), outputs).to(_real(sample))
    given: dict[str, Tensor] = {"support": support, "labels": labels, QUERIES: _some(sample)}
    places = {1: Dim.AUTO} if texts else {}
    free: dict[str, dict[int, Any]] = {
        "support": {0: Dim.AUTO, **places}, "labels": {0: Dim.AUTO}, QUERIES: {0: Dim.DYNAMIC, **places},
    }  # fmt: skip
    if texts:
        given |= {"support_lengths": _lengths(support), "query_lengths": _lengths(given[QUERIES])}
        free |= {"support_lengths": {0: Dim.AUTO}, "query_lengths": {0: Dim.DYNAMIC}}
    return _followed(FitAndPredict(learner, outputs), learner, given, free, kind)


def _followed(
    module: nn.Module, learner: Learner, given: dict[str, Tensor], free: dict[str, dict[int, Any]], kind: Kind
) -> Program:
    try:
        with torch.no_grad(), padded():
            exported = torch.export.export(
                module.eval(), tuple(given.values()), dynamic_shapes=tuple(free.values()), strict=False
            )
    except MetaftError:
        raise
    except Exception as error:  # whatever a network of somebody's does that torch cannot follow
        raise MetaftError(
            f"torch.export cannot follow {learner.name}: {type(error).__name__}: {first_line(error)}"
        ) from error
    nodes = [node for node in exported.graph.nodes if node.op == "placeholder"][-len(given) :]
    inputs = {}
    for (name, value), node in zip(given.items(), nodes, strict=True):
        sizes = [
            size if isinstance(size, int) else _called(name, axis) for axis, size in enumerate(node.meta["val"].shape)
        ]
        inputs[name] = {"type": str(value.dtype).removeprefix("torch."), "shape": sizes}
    return Program(exported, inputs, ("scores", "probabilities") if kind == "classification" else ("values",))


def _called(name: str, axis: int) -> str:
    """What a free size is called."""
    if axis:
        return PLACES
    return QUERIES if name in (QUERIES, "lengths", "query_lengths") else EXAMPLES


def _some(examples: Tensor) -> Tensor:
    return torch.cat([examples] * (-(-LEAST // len(examples))))[: max(LEAST, len(examples))]


def _lengths(ids: Tensor) -> Tensor:
    return (ids != 0).sum(-1)


def _real(sample: Tensor) -> torch.dtype:
    return sample.dtype if sample.is_floating_point() else torch.float32
