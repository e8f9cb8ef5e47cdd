"""Model-agnostic meta-learning (Finn, Abbeel & Levine 2017)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor, nn

from metaft.errors import MetaftError
from metaft.inner.adapt import Inner, TaskStart, adapt, network
from metaft.inner.batching import laid_out, over_tasks
from metaft.inner.losses import cross_entropy, mean_squared_error
from metaft.inner.objectives import Loss
from metaft.inner.rules import Params, Rule
from metaft.inner.scope import spelled_out, table
from metaft.learners import step_statistics
from metaft.learners.annealing import Annealing
from metaft.learners.first_batch import FirstBatch
from metaft.learners.learner import Predictor
from metaft.learners.prototype_start import PrototypeStart
from metaft.models.functional import BatchNormMode, Functional
from metaft.outer.checks import require_path
from metaft.outer.chunks import default_size, map_chunks
from metaft.outer.meta_gradient import MetaGradient, Update, estimator_of, meta_gradient, resolve
from metaft.outer.problem import QueryLoss
from metaft.parts import read, told
from metaft.tables import ESTIMATORS, OBJECTIVES, RULES
from metaft.tasks.batch import IGNORE, TaskBatch
from metaft.tasks.family import Kind
from metaft.tasks.soft_targets import labels_of
from metaft.validate import require_count

NormMode = BatchNormMode | Literal["per-step"]
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
        objective: what the inner loop descends: "task", "l2" or "kl" to the start, or "l2-after" (``L2AfterSteps``);
            with options as in "l2:weight=2".
        objective_weight: of the pull to the start; the same as "l2:weight=…".
        batch_norm: "transductive", "inductive", or "per-step": queries by running statistics, with ``per_step_norm``.
        start: "learned", or "prototypes": each task's head begins from its support set (see ``PrototypeStart``).
        per_step_norm: batch norm's scale and shift do not adapt and are learned for each step; and running statistics
            of the queries are gathered after each (see ``metaft.learners.step_statistics``).
        annealing: what of the outer objective changes over training, which `at` then has to be told of.
        solver_iterations: the most conjugate-gradient iterations a task; the same as "implicit:iterations=…".
        kind: "classification" (cross-entropy) or "regression" (mean squared error).
        memory: "flat", "checkpoints" or "graph" (see ``metaft.meta_gradient``).
        engine: "eager" or "compile".
        workers: threads that share a batch's tasks.

    Raises:
        MetaftError: if an option is unknown, a scope matches nothing, or the parts do not go together.
    """

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
        batch_norm: NormMode = "transductive",
        start: Literal["learned", "prototypes"] = "learned",
        per_step_norm: bool = False,
        annealing: Annealing | None = None,
        solver_iterations: int | None = None,
        kind: Kind = "classification",
        memory: str = "flat",
        engine: str = "eager",
        workers: int = 1,
    ) -> None:
        require_count(steps, "inner steps")
        require_count(workers, "workers", 1)
        mode: BatchNormMode = "transductive" if batch_norm == "per-step" else batch_norm
        self.model, self.batch_norm = Functional(model, mode), batch_norm
        self.in_training = self.model.training()
        self.prototypes = PrototypeStart(model, mode) if start == "prototypes" else None
        own, begun = self.model.params(), self.prototypes.names if self.prototypes else ()
        self.per_step = step_statistics.affine(self.model) if per_step_norm else ()
        learned = {n: p for n, p in own.items() if n not in begun}
        self.frozen = tuple(n for n in self.model.frozen if n not in begun)
        self._scopes = spelled_out(scope, model), spelled_out(meta_scope, model)
        adapts, _ = resolve((*learned, *begun), self._scopes[0], "all", begun, self.per_step, self.frozen)
        rates = rule.learned({n: own[n] for n in adapts})
        self.params = step_statistics.for_each_step(learned, self.per_step, steps) | rates
        self.adapts, self.trains = resolve((*self.params, *begun), *self._scopes, begun, self.per_step, self.frozen)
        self.gathered = step_statistics.initial(self.model, steps) if self.per_step else {}
        self.params |= self.gathered
        self.begun = {n: own[n] for n in begun}
        self.annealing, self.done = annealing, 0.0
        self.rule, self.steps = rule, steps
        self.estimator, self.solver_iterations = read(estimator, "estimator").name, solver_iterations
        self.estimate = estimator_of(estimator, solver_iterations)
        self.scope, self.meta_scope = scope, meta_scope
        self.kind, self.memory, self.engine, self.workers = kind, memory, engine, workers
        weighted = {} if objective_weight is None else {"weight": objective_weight}
        self.objective = OBJECTIVES.make(objective, predict=self.in_training, **weighted)
        self.objective_of_answers = OBJECTIVES.make(objective, predict=self.model, **weighted)
        self.objective_name = read(objective).name
        self.objective_weight: float | None = getattr(self.objective, "weight", None)
        if self.objective_name == "kl" and kind != "classification":
            raise MetaftError("objective 'kl' compares class probabilities, and this is a regression; use 'l2'")
        self.task_loss = LOSSES[kind]
        # Of the queries; another one where a teacher answers them as well (metaft.distillation.taught_meta_learner).
        self.outer_loss: Callable[[Tensor, Tensor], Tensor] = self.task_loss
        self.name = "fomaml" if self.estimator == "first-order" else "maml"
        self._check = FirstBatch(type(model).__name__)
        self._require_sense()

    @property
    def transductive(self) -> bool:
        """True where batch norm sees the whole query set."""
        return self.model.transductive and self.batch_norm != "per-step"

    def set_progress(self, fraction: float) -> None:
        """Be told how far training is; without annealing nothing depends on it.

        Args:
            fraction: of training behind us, in [0, 1].
        """
        self.done = fraction

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
        return self.engine == "compile" and self.estimate.compiles_whole and not self.gathered

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
            Loss, gradients and running statistics gathered, see ``metaft.meta_gradient``. With a loss after every step
            it is their weighted sum.

        Raises:
            MetaftError: if running statistics are gathered: they are those of the weights before the update.
        """
        if update is not None and self.gathered:
            raise MetaftError("this learner gathers running statistics of its weights; update them afterwards instead")
        self._require_fit(batch)
        support_loss, query_loss = self._losses(batch.ragged)
        begin, annealing = self._begin(batch), self.annealing
        out = meta_gradient(
            support_loss,
            {n: p for n, p in self.params.items() if n not in self.gathered},
            batch,
            rule=self.rule,
            steps=self.steps,
            estimator=annealing.estimator(self.estimate, self.done) if annealing else self.estimate,
            memory=self.memory,
            scope=self._scopes[0],
            meta_scope=self._scopes[1],
            objective=self.objective,
            query_loss=query_loss,
            step_weights=annealing.step_weights(self.steps, self.done) if annealing else None,
            begin=begin,
            per_step=self.per_step,
            engine=self.engine,
            workers=self.workers,
            diagnose=diagnose,
            frozen=self.frozen,
            update=update,
            kept=kept,
        )
        if not self.gathered or diagnose:
            return out
        inner = self._inner(self.steps, batch.ragged, begin)
        return dataclasses.replace(out, gathered=step_statistics.gather(self.model, inner, self.params, batch))

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
        other = dict.fromkeys(self.gathered, "gathered") | dict.fromkeys(self.begun, "prototypes")
        other |= dict.fromkeys(self.frozen, "frozen")
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
        inner = self._inner(self.steps, ragged, self._begin(batch))
        params, batch = laid_out(self.params, batch)

        def adapted(chunk: TaskBatch) -> Predictor:
            counted = chunk.support_y != IGNORE if ragged else None
            with torch.no_grad():
                last = adapt(inner, params, chunk.support_x, chunk.support_y)[-1]
            return lambda query_x: self._predict(inner, inner.steps, last, chunk.support_x, query_x, counted)

        parts = map_chunks(adapted, batch, self.workers, size, owner=self)
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
        inner = self._inner(count, ragged, self._begin(batch))
        params, batch = laid_out(self.params, batch)

        def answers(chunk: TaskBatch) -> Tensor:
            counted = (chunk.support_y != IGNORE, chunk.query_y != IGNORE) if ragged else ()
            with torch.no_grad():
                path = adapt(inner, params, chunk.support_x, chunk.support_y)
                asked = (chunk.support_x, chunk.query_x, *counted)
                return torch.stack([self._predict(inner, k, p, *asked) for k, p in enumerate(path)])

        return torch.cat(map_chunks(answers, batch, self.workers, default_size(batch, self.params), owner=self), dim=1)

    def _require_fit(self, batch: TaskBatch) -> None:
        """Refuse tasks that do not go with the network, before anything is computed."""

        def own() -> Params:
            params = network(Inner(self.support_loss, self.rule, 1, per_step=self.per_step).at_step(0, self.params))
            return {n: p for n, p in params.items() if n not in self.gathered} | self.begun

        self._check(self.model, own, batch, self.kind, any_ways=self.prototypes is not None)

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

    def _begin(self, batch: TaskBatch) -> TaskStart | None:
        """Where the head of these tasks begins, if not at meta-parameters."""
        if self.prototypes is None:
            return None
        return self.prototypes.begin(int(batch.support_y.max()) + 1, batch.ragged)

    def _inner(self, steps: int, ragged: bool = False, begin: TaskStart | None = None) -> Inner:
        """The inner loop where answers are wanted."""
        loss = (
            self.ragged_answering_loss if self._losses(ragged)[0] == self.ragged_support_loss else self.answering_loss
        )
        return Inner(loss, self.rule, steps, self.adapts, self.objective_of_answers, begin, self.per_step)

    @torch.no_grad()
    def _predict(self, inner: Inner, steps: int, adapting: Params, *inputs: Tensor | None) -> Tensor:
        """Answer all tasks' queries after so many steps; the inputs are those of ``Functional.query``, stacked."""
        fixed = {n: p for n, p in network(inner.after(steps, self.params)).items() if n not in adapting}
        running = step_statistics.after(steps, self.params) if self.batch_norm == "per-step" else None

        def answer(adapting: Params, support_x: Tensor, query_x: Tensor, *counted: Tensor | None) -> Tensor:
            if running is not None:
                return self.model(fixed | adapting, query_x, running=running)
            return self.model.query(fixed | adapting, support_x, query_x, *counted)

        axes = tuple(None if one is None else 0 for one in inputs)
        return over_tasks(answer, (None if steps == 0 and not self.begun else 0, *axes))(adapting, *inputs)

    def _require_sense(self) -> None:
        """Refuse parts that do not go together, before any task is drawn."""
        if self.prototypes:
            if self.kind != "classification":
                raise MetaftError("prototypes are of classes, and this is a regression; use start 'learned'")
            self.prototypes.require_any_ways(self.rule, self.begun)
        if self.batch_norm == "per-step" and not self.gathered and self.model.normalises:
            raise MetaftError("batch_norm 'per-step' needs the statistics of each step: use it with learner 'maml++'")
        if self.solver_iterations is not None and "iterations" not in ESTIMATORS.options(self.estimator):
            raise MetaftError(
                f"solver_iterations = {self.solver_iterations} are of estimator 'implicit', not {self.estimator!r}"
            )
        begin = self.prototypes.begin(2, False) if self.prototypes else None
        inner = Inner(self.support_loss, self.rule, self.steps, self.adapts, self.objective, begin, self.per_step)
        require_path(self.estimate, self.engine, inner, self.annealing is not None)

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
            **({} if self.objective_weight is None else {"objective_weight": self.objective_weight}),
            "estimator": self.estimator,
            **({"estimator_options": more} if (more := told(self.estimate, ("iterations",))) else {}),
            **({"solver_iterations": found} if (found := getattr(self.estimate, "iterations", None)) else {}),
            "batch_norm": self.batch_norm if self.model.normalises else "none",
            "adapts": sum((self.params | self.begun)[name].numel() for name in self.adapts),
            "parameters": sum(p.numel() for n, p in self.params.items() if n not in self.gathered),
            **({"start": "prototypes"} if self.prototypes else {}),
            **({"per_step_norm": True} if self.per_step else {}),
            **({"annealing": self.annealing.told()} if self.annealing else {}),
        }
