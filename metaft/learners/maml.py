"""Model-agnostic meta-learning (Finn, Abbeel & Levine 2017)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from metaft.errors import MetaftError
from metaft.inner.adapt import Inner, TaskStart, adapt, learned, network
from metaft.inner.batching import laid_out, over_tasks
from metaft.inner.losses import cross_entropy, mean_squared_error
from metaft.inner.objectives import Loss, Objective
from metaft.inner.rules import Params, Rule
from metaft.inner.scope import spelled_out, table
from metaft.learners.first_batch import FirstBatch
from metaft.learners.learner import Predictor
from metaft.models.functional import BatchNormMode, Functional
from metaft.models.words import words_of
from metaft.outer.checks import require_path
from metaft.outer.chunks import default_size, map_chunks
from metaft.outer.mean_gradient import MetaGradient, Update, mean_gradient
from metaft.outer.meta_gradient import estimator_of, resolve
from metaft.outer.problem import Compute, Outer, QueryLoss
from metaft.parts import read, told
from metaft.tables import ESTIMATORS, OBJECTIVES, RULES
from metaft.tasks.batch import IGNORE, TaskBatch
from metaft.tasks.family import Kind
from metaft.tasks.soft_targets import labels_of
from metaft.validate import require_count

LOSSES = {"classification": cross_entropy, "regression": mean_squared_error}


class MAML:
    """An initialisation from which K inner steps on a support set answer well for the query set (alg. 1 and 2).

    Scope, rule, objective and estimator are free; the paper's choice is all parameters, SGD, the task loss, exact.

    Batch norm uses the statistics of the batch at hand in training and test (transductive, as the authors' code does)
    unless ``inductive`` is chosen. Deviation: batch norm's scale and shift adapt too. In their code its shift is
    meta-trained and does not adapt, and it has no scale; scope ``"all,!*.norm.*"`` is theirs on Conv4. Padding of
    ragged tasks is left out of losses and statistics; a task of fewer ways has fewer labels among the same outputs.

    Args:
        model: any module; it is copied.
        rule: the inner rule, ``SGD(lr=0.4)`` for instance.
        steps: inner steps K in meta-training.
        estimator: "exact", "first-order" (FOMAML, §5.2), "finite-difference", "implicit" or "reptile"; with options as
            in "implicit:iterations=5".
        scope: which parameters adapt (see ``metaft.inner.scope.select``).
        meta_scope: which are meta-trained; by default all, and what the rule learns.
        objective: what the inner loop descends: "task", "l2" or "kl" to the start, "kl-words" (of what it says of
            words), or "l2-after" (``L2AfterSteps``); with options as in "l2:weight=2".
        objective_weight: of the pull to the start; the same as "l2:weight=…".
        batch_norm: "transductive" or "inductive".
        solver_iterations: the most conjugate-gradient iterations a task; the same as "implicit:iterations=…".
        kind: "classification" (cross-entropy) or "regression" (mean squared error).
        memory: "flat", "checkpoints" or "graph" (see ``metaft.meta_gradient``).
        engine: "eager", "compile" or "higher".
        workers: threads that share a batch's tasks.

    Raises:
        MetaftError: if an option is unknown, a scope matches nothing, or the parts do not go together.
    """

    per_step: tuple[str, ...] = ()
    """Meta-parameters of which each inner step has its own."""
    any_ways: ClassVar[bool] = False
    """Whether it answers tasks of any number of ways."""

    def __init__(
        self,
        model: nn.Module,
        rule: Rule,
        steps: int,
        estimator: str = "exact",
        *,
        scope: str = "all",
        meta_scope: str = "all,rates",
        objective: str = "task",
        objective_weight: float | None = None,
        batch_norm: BatchNormMode = "transductive",
        solver_iterations: int | None = None,
        kind: Kind = "classification",
        memory: str = "flat",
        engine: str = "eager",
        workers: int = 1,
    ) -> None:
        if batch_norm == "per-step":
            raise MetaftError("batch_norm 'per-step' needs the statistics of each step: use it with learner 'maml++'")
        self.compute, self.steps = Compute(engine, memory, workers), require_count(steps, "inner steps")
        self.model, self.rule, self.kind = Functional(model, batch_norm), rule, kind
        self.in_training = self.model.training()
        self.estimate = estimator_of(estimator, solver_iterations)
        self.estimator = self.estimate.name
        words = words_of(model)
        weighted = {} if objective_weight is None else {"weight": objective_weight}
        self.objective = OBJECTIVES.make(objective, predict=self.in_training, words=words, **weighted)
        self.objective_of_answers = OBJECTIVES.make(objective, predict=self.model, words=words, **weighted)
        self.objective_name = read(objective).name
        self.task_loss = LOSSES[kind]
        # Of the queries; another one where a teacher answers them as well (metaft.distillation.taught_meta_learner).
        self.outer_loss: Callable[[Tensor, Tensor], Tensor] = self.task_loss
        self.scope, self.meta_scope = scope, meta_scope
        self._select(self.model.params(), spelled_out(scope, model), spelled_out(meta_scope, model))
        self.name = "fomaml" if self.estimator == "first-order" else "maml"
        self._check = FirstBatch(type(model).__name__)
        self._require_sense(solver_iterations)

    def _select(self, own: Params, scope: str, meta_scope: str) -> None:
        """Find out which of the network's parameters are meta-parameters, what adapts, and what trains."""
        kept, self.begun = self._divided(own)
        begun, frozen = tuple(self.begun), tuple(n for n in self.model.frozen if n not in self.begun)
        adapts, _ = resolve((*kept, *begun), scope, "all", begun, self.per_step, frozen)
        self.params = kept | self.rule.learned({n: own[n] for n in adapts})
        names = (*self.params, *begun)
        self.adapts, self.trains = resolve(names, scope, meta_scope, begun, self.per_step, frozen)
        self.frozen = frozen

    def _divided(self, own: Params) -> tuple[Params, Params]:
        """The network's parameters that are meta-parameters, and those that each task begins from its support set."""
        return own, {}

    def _start(self, ways: int, ragged: bool) -> TaskStart | None:
        """How tasks of so many ways begin what is no meta-parameter."""
        return None

    def _outer(self, query_loss: QueryLoss) -> Outer:
        """What is differentiated, at this point of training."""
        return Outer(self.estimate, self.trains, query_loss)

    def _running(self, steps: int) -> dict[str, Tensor] | None:
        """The running statistics that normalise queries after so many steps; None where there are none."""
        return None

    @property
    def transductive(self) -> bool:
        """True where batch norm sees the whole query set."""
        return self.model.transductive

    @property
    def batch_norm(self) -> str:
        """Whose statistics normalise the queries."""
        return self.model.batch_norm

    @property
    def engine(self) -> str:
        """What computes the meta-gradient."""
        return self.compute.engine

    def support_loss(self, params: Params, x: Tensor, y: Tensor) -> Tensor:
        """The inner objective of one task in training."""
        return self.task_loss(self.in_training(params, x), y)

    def query_loss(self, params: Params, support_x: Tensor, support_y: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """The outer objective of one task, batch norm in the declared mode."""
        return self.outer_loss(self.in_training.query(params, support_x, x), y)

    def ragged_support_loss(self, params: Params, x: Tensor, y: Tensor) -> Tensor:
        """The inner objective of a task with padding, which batch norm leaves out."""
        return self.task_loss(self.in_training(params, x, counted=y != IGNORE), y)

    def answering_loss(self, params: Params, x: Tensor, y: Tensor) -> Tensor:
        """The inner objective of one task where answers are wanted: random layers are off."""
        return self.task_loss(self.model(params, x), y)

    def ragged_answering_loss(self, params: Params, x: Tensor, y: Tensor) -> Tensor:
        """The same of a task with padding."""
        return self.task_loss(self.model(params, x, counted=y != IGNORE), y)

    def ragged_query_loss(self, params: Params, support_x: Tensor, support_y: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """The outer objective of a task with padding."""
        counted = support_y != IGNORE, labels_of(y) != IGNORE
        return self.outer_loss(self.in_training.query(params, support_x, x, *counted), y)

    @property
    def takes_update(self) -> bool:
        """Whether the meta-gradient of vectors is one compiled graph, which what is made of it can be part of."""
        return self.engine == "compile" and self.estimate.compiles_whole

    def meta_gradient(
        self, batch: TaskBatch, diagnose: bool = False, update: Update | None = None, kept: Any = ()
    ) -> MetaGradient:
        """The mean query loss after K steps and its gradient towards the initialisation.

        Args:
            batch: the tasks.
            diagnose: record the adjoint's norm at every inner step.
            update: what to make of the gradient in the same compiled call, see ``metaft.meta_gradient``.
            kept: what ``update`` carries along.

        Returns:
            Loss and gradients, see ``metaft.meta_gradient``.
        """
        self._require_fit(batch)
        support_loss, query_loss = self._losses(batch.ragged)
        inner = self._inner(self.steps, batch, support_loss, self.objective)
        outer = self._outer(query_loss)
        return mean_gradient(
            inner, outer, self.compute, self.params, batch, diagnose=diagnose, update=update, kept=kept
        )

    def adjoint_norms(self, batch: TaskBatch) -> list[float]:
        """The adjoint's norm at each inner step 0 … K: does the outer gradient explode or vanish on its way back?

        Args:
            batch: the tasks, over which the mean is taken.

        Returns:
            K + 1 numbers, the last being the query gradient at the adapted parameters.
        """
        return [float(n) for n in self.meta_gradient(batch, diagnose=True).adjoint_norms.mean(-1)]

    def scope_rows(self) -> list[list[str]]:
        """What adapts and what is meta-trained, a row a parameter: name, shape, "adapts", "meta-trained"."""
        other = dict.fromkeys(self.begun, "from the support set") | dict.fromkeys(self.frozen, "frozen")
        rows = table(self.params | self.begun, self.adapts, self.trains)
        return [[*row[:3], other.get(row[0], row[3])] for row in rows]

    def adapt(self, support_x: Tensor, support_y: Tensor) -> Predictor:
        """Take K inner steps on each support set.

        Args:
            support_x: ``[tasks, support, *input]``.
            support_y: ``[tasks, support, ...]``.

        Returns:
            ``query_x [tasks, query, *input] → predictions [tasks, query, outputs]``.
        """
        batch = TaskBatch(support_x, support_y, support_x, support_y)
        self._require_fit(batch)
        ragged, size = batch.ragged, default_size(batch, self.params)
        inner = self._answering(self.steps, batch)
        params, batch = laid_out(self.params, batch)

        def adapted(chunk: TaskBatch) -> Predictor:
            counted = chunk.support_y != IGNORE if ragged else None
            with torch.no_grad():
                last = adapt(inner, params, chunk.support_x, chunk.support_y)[-1]
            return lambda query_x: self._predict(inner, inner.steps, last, chunk.support_x, query_x, counted)

        parts = map_chunks(adapted, batch, self.compute.workers, size, owner=self)
        size = -(-batch.tasks // len(parts))

        def predictor(query_x: Tensor) -> Tensor:
            asked = laid_out({}, TaskBatch(support_x, support_y, query_x, query_x))[1].query_x  # no labels are known
            return torch.cat([part(x) for part, x in zip(parts, asked.split(size), strict=True)])

        return predictor

    def curve(self, batch: TaskBatch, steps: int | None = None) -> Tensor:
        """Query predictions after each inner step.

        Args:
            batch: the tasks.
            steps: how many steps, more than in training if wished; as in training if None.

        Returns:
            ``[steps + 1, tasks, query, outputs]``.
        """
        self._require_fit(batch)
        ragged = batch.ragged
        count = self.steps if steps is None else require_count(steps, "inner steps")
        inner = self._answering(count, batch)
        params, batch = laid_out(self.params, batch)

        def answers(chunk: TaskBatch) -> Tensor:
            counted = (chunk.support_y != IGNORE, chunk.query_y != IGNORE) if ragged else ()
            with torch.no_grad():
                path = adapt(inner, params, chunk.support_x, chunk.support_y)
                asked = (chunk.support_x, chunk.query_x, *counted)
                return torch.stack([self._predict(inner, k, p, *asked) for k, p in enumerate(path)])

        return torch.cat(
            map_chunks(answers, batch, self.compute.workers, default_size(batch, self.params), owner=self), dim=1
        )

    def _require_fit(self, batch: TaskBatch) -> None:
        """Refuse tasks that do not go with the network, before anything is computed."""

        def own() -> Params:
            return (
                network(Inner(self.support_loss, self.rule, 1, per_step=self.per_step).at_step(0, self.params))
                | self.begun
            )

        self._check(self.model, own, batch, self.kind, any_ways=self.any_ways)

    def _losses(self, ragged: bool) -> tuple[Loss, QueryLoss]:
        """Of the support and the query set; without batch norm, ignoring padded labels is all there is to do."""
        if not ragged or not self.model.normalises:
            return self.support_loss, self.query_loss
        if self.objective_name == "kl":
            raise MetaftError(
                "objective 'kl' with batch norm does not leave the padding of ragged tasks out; use objective 'l2', "
                "or the same ways and shots in every task"
            )
        return self.ragged_support_loss, self.ragged_query_loss

    def _inner(self, steps: int, batch: TaskBatch, loss: Loss, objective: Objective) -> Inner:
        """The inner loop of a batch."""
        begin = self._start(int(batch.support_y.max()) + 1, batch.ragged) if self.begun else None
        return Inner(loss, self.rule, steps, self.adapts, objective, begin, self.per_step)

    def _answering(self, steps: int, batch: TaskBatch) -> Inner:
        """The inner loop where answers are wanted: random layers are off."""
        padded = self._losses(batch.ragged)[0] == self.ragged_support_loss
        loss = self.ragged_answering_loss if padded else self.answering_loss
        return self._inner(steps, batch, loss, self.objective_of_answers)

    @torch.no_grad()
    def _predict(self, inner: Inner, steps: int, adapting: Params, *inputs: Tensor | None) -> Tensor:
        """Answer all tasks' queries after so many steps; the inputs are those of ``Functional.query``, stacked."""
        fixed = {n: p for n, p in network(inner.after(steps, self.params)).items() if n not in adapting}
        running = self._running(steps)

        def answer(adapting: Params, support_x: Tensor, query_x: Tensor, *counted: Tensor | None) -> Tensor:
            if running is not None:
                return self.model(fixed | adapting, query_x, running=running)
            return self.model.query(fixed | adapting, support_x, query_x, *counted)

        axes = tuple(None if one is None else 0 for one in inputs)
        return over_tasks(answer, (None if steps == 0 and not self.begun else 0, *axes))(adapting, *inputs)

    def _require_sense(self, solver_iterations: int | None) -> None:
        """Refuse parts that do not go together, before any task is drawn."""
        if self.objective_name == "kl" and self.kind != "classification":
            raise MetaftError("objective 'kl' compares class probabilities, and this is a regression; use 'l2'")
        if solver_iterations is not None and "iterations" not in ESTIMATORS.options(self.estimator):
            raise MetaftError(
                f"solver_iterations = {solver_iterations} are of estimator 'implicit', not {self.estimator!r}"
            )
        begin = self._start(2, False)
        inner = Inner(self.support_loss, self.rule, self.steps, self.adapts, self.objective, begin, self.per_step)
        require_path(self.estimate, self.engine, inner, self._outer(self.query_loss).step_weights is not None)

    def describe(self) -> dict[str, object]:
        """The settings that identify this learner."""
        return {
            "learner": self.name,
            "steps": self.steps,
            "rule": type(self.rule).__name__,
            "inner_lr": getattr(self.rule, "lr", None),
            **({"rule_options": more} if (more := told(self.rule, RULES.supplied)) else {}),
            "scope": self.scope,
            "meta_scope": self.meta_scope,
            "objective": self.objective_name,
            **({} if (weight := getattr(self.objective, "weight", None)) is None else {"objective_weight": weight}),
            "estimator": self.estimator,
            **({"estimator_options": more} if (more := told(self.estimate, ("iterations",))) else {}),
            **({"solver_iterations": found} if (found := getattr(self.estimate, "iterations", None)) else {}),
            "batch_norm": self.batch_norm if self.model.normalises else "none",
            "adapts": sum((self.params | self.begun)[name].numel() for name in self.adapts),
            "parameters": sum(p.numel() for p in (network(self.params) | learned(self.params)).values()),
        }
