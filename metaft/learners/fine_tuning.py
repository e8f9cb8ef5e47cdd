"""Fine-tuning: the inner loop of MAML without the outer one, from a network trained in the ordinary way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property, lru_cache, partial
from itertools import islice, takewhile
from typing import Any, get_args

import torch
from torch import Tensor, nn

from metaft.data.texts.labelled_texts import trimmed
from metaft.errors import MetaftError, nearest
from metaft.inner.batching import laid_out, over_tasks
from metaft.inner.objectives import Objective
from metaft.inner.rules import Params, Rule
from metaft.inner.rules.scaled import Scaled
from metaft.learners.embedding import Embedding
from metaft.learners.fine_tune_steps import Answer, stage_path
from metaft.learners.learner import Predictor
from metaft.learners.schedules import SCHEDULES, Plan
from metaft.learners.task_network import HeadChoice, TaskNetwork, with_task_head
from metaft.learners.word_start import WordStart
from metaft.models.anatomy import anatomy
from metaft.models.functional import BatchNormMode, Functional
from metaft.models.heads import head_name
from metaft.models.text_vector import reads_texts
from metaft.models.words import words_of
from metaft.outer.chunks import bounded_size, default_size, map_chunks
from metaft.parts import told
from metaft.prompting.answer_words import AnswerWords
from metaft.seeds import require_seed
from metaft.tables import OBJECTIVES, RULES
from metaft.tasks.batch import IGNORE, TaskBatch
from metaft.tasks.check import require_support
from metaft.validate import require_count

HEADS_AT_ONCE = 16
"""Tasks computed together where the head alone adapts: its steps are small, and the calls are what they cost."""


class FineTuning:
    """A new head on a pretrained network, then K steps down the support loss, all tasks at once.

    Fine-tuning as in Chen et al. 2019 (Baseline and, with a cosine head, Baseline++), head first as in Kumar et
    al. 2022 (LP-FT), block by block (coordinate descent), or of the linearised network (Mu, Liang & Li 2020: about
    the pretrained body with a head fitted first). With batch norm by running statistics, as it is used after
    ordinary training, the answer is inductive.

    Deviations: full-batch steps, where Chen et al. draw minibatches of 4 from the support set; the head starts at
    zeros, so that the first step does not move the body along a random direction (Kumar et al. 2022, §3.3).

    Args:
        model: the pretrained network (or one drawn at random, the control); it is copied.
        rate: the step's rate, on the mean support loss; choose it on validation tasks (a head alone bears more).
        head_rate: the head's; `rate` for all if None.
        steps: steps in all, K.
        rule: "sgd", "momentum" or "adam".
        scope: what adapts (see ``metaft.inner.scope.select``). A new head joins whatever is chosen, unless a part
            of the scope is ``!head``: "first:2" is the head and two blocks, "none" the head alone.
        schedule: "together", "head-first" or "rotating" (see ``metaft.learners.schedules``).
        head_steps: of head-first, how many of the K steps are the head's alone.
        head: how a head starts: "zeros", "random", "words": as a language model's own scores of the classes' words
            (see `metaft.learners.word_start`), or "kept": no new one, for tasks of the outputs trained on.
        objective: "task", "l2" (to the start; of a new head, to its own), "kl": the answers of the *pretrained* head
            on the support set are held (Li & Hoiem 2016, with the KL of Yu et al. 2013), or "kl-words": what the
            pretrained network says of words is, on the support set's texts.
        weight: of the latter three.
        linearised: expand the network about where it stands when the body begins to move.
        batch_norm: "running" (inductive), "inductive" or "transductive".
        seed: of a random head.
        workers: threads that share a batch's tasks.
        answers: the words of classes, of head "words".

    Raises:
        MetaftError: if an option is unknown or out of range, a scope matches nothing, or the parts do not go together.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        rate: float = 0.01,
        head_rate: float | None = None,
        steps: int = 50,
        rule: str = "sgd",
        scope: str = "all",
        schedule: str = "together",
        head_steps: int = 25,
        head: HeadChoice = "zeros",
        objective: str = "task",
        weight: float = 1.0,
        linearised: bool = False,
        batch_norm: BatchNormMode = "running",
        seed: int = 0,
        workers: int = 1,
        answers: AnswerWords | None = None,
    ) -> None:
        for what, given, known in (
            ("schedule", schedule, SCHEDULES),
            ("head", head, get_args(HeadChoice)),
        ):
            if given not in known:
                raise MetaftError(f"unknown {what} {given!r}{nearest(given, known)}")
        self.rule_name, self.objective_name = RULES.asked(rule).name, OBJECTIVES.asked(objective).name
        require_count(steps, "inner steps")
        require_count(workers, "workers", 1)
        self.model = Functional(model, batch_norm)
        self.params = self.model.params()
        self.rate, self.head_rate, self.steps, self.scope = rate, head_rate, steps, scope
        self.schedule, self.head_steps, self.head = schedule, head_steps, head
        # Forward-mode derivatives are numbered for the whole process: threads would take each other's for their own.
        self.linearised, self.seed, self.workers = linearised, require_seed(seed), 1 if linearised else workers
        self.objective: Objective = OBJECTIVES.make(
            objective, weight=weight, predict=self._pretrained_answer, words=words_of(model)
        )
        self.weight = float(getattr(self.objective, "weight", 0.0))
        self._words = WordStart(self.model.module, answers) if head == "words" else None
        self._networks: dict[int, TaskNetwork] = {}
        head_name(model)  # refused where there is none to replace
        self._old_head = anatomy(model).head_names
        self.rule: Rule = RULES.make(rule, lr=rate, steps=max(steps, 1))
        self._rule_kind, self._rule_options = type(self.rule).__name__, told(self.rule, RULES.supplied)
        if head_rate is not None:
            self.rule = Scaled(self.rule, head_rate / rate, self._old_head)
        self._trained_ways = self._latest_ways = len(self.params[self._old_head[0]])
        self._require_sense(self._network(self._trained_ways))

    @property
    def name(self) -> str:
        """The row of the table it is: "linearised", "head-first", "rotating" or "fine-tuning"."""
        if self.linearised:
            return "linearised"
        return "fine-tuning" if self.schedule == "together" else self.schedule

    @property
    def transductive(self) -> bool:
        """True where batch norm sees the whole query set."""
        return self.model.transductive

    def adapt(self, support_x: Tensor, support_y: Tensor) -> Predictor:
        """Take K steps on each support set.

        Args:
            support_x: ``[tasks, support, *input]``.
            support_y: ``[tasks, support]`` labels or ``[tasks, support, outputs]`` values.

        Returns:
            ``query_x [tasks, query, *input] → predictions [tasks, query, outputs]``.
        """
        batch = TaskBatch(support_x, support_y, support_x, support_y)
        net = self._network(self._ways(batch))
        ragged, size = batch.ragged, self._chunk(net, batch)

        def adapted(chunk: TaskBatch) -> tuple[int, Answer]:
            *_, last = self._walk(net, self._without_padding(chunk.support_x), chunk.support_y, self.steps, ragged)
            return chunk.tasks, last

        sizes, parts = zip(*map_chunks(adapted, batch, self.workers, size, owner=self), strict=True)

        def predictor(query_x: Tensor) -> Tensor:
            pieces = query_x.split(sizes)
            counted = [torch.ones(x.shape[:2], dtype=torch.bool, device=x.device) if ragged else None for x in pieces]
            asked = zip(parts, map(self._without_padding, pieces), counted, strict=True)
            return torch.cat([part(x, c) for part, x, c in asked])

        return predictor

    def curve(self, batch: TaskBatch, steps: int | None = None) -> Tensor:
        """Query predictions after each step; the parameters of passed steps are not kept.

        Args:
            batch: the tasks.
            steps: how many steps of the same schedule, more or fewer; K if None.

        Returns:
            ``[steps + 1, tasks, query, outputs]``.
        """
        net = self._network(self._ways(batch))
        count, ragged = self.steps if steps is None else require_count(steps, "inner steps"), batch.ragged

        if net.in_body:
            batch = laid_out({}, batch)[1]

        def answers(chunk: TaskBatch) -> Tensor:
            counted = chunk.query_y != IGNORE if ragged else None
            path = self._walk(net, self._without_padding(chunk.support_x), chunk.support_y, count, ragged)
            query_x = self._without_padding(chunk.query_x)
            return torch.stack([answer(query_x, counted) for answer in path])

        return torch.cat(map_chunks(answers, batch, self.workers, self._chunk(net, batch), owner=self), dim=1)

    def describe(self) -> dict[str, object]:
        """The settings that identify this learner; ``adapts`` counts for the ways of the tasks it answered last."""
        net = self._network(self._latest_ways)
        start = net.start(self.params)
        return {
            "learner": self.name,
            "steps": self.steps,
            "rule": self._rule_kind,
            "inner_lr": self.rate,
            **({"rule_options": self._rule_options} if self._rule_options else {}),
            "head_lr": self.rate if self.head_rate is None else self.head_rate,
            "scope": self.scope,
            "schedule": self.schedule,
            "head_steps": self.head_steps if self.schedule == "head-first" else 0,
            "head": self.head,
            **({} if self._words is None else self._words.answers.describe()),
            "objective": self.objective_name,
            "objective_weight": self.weight,
            "linearised": self.linearised,
            "batch_norm": self.model.batch_norm if self.model.normalises else "none",
            "parameters": sum(p.numel() for p in start.values()),
            "adapts": sum(start[name].numel() for name in net.adapts),
        }

    @torch.no_grad()
    def _walk(
        self, net: TaskNetwork, support_x: Tensor, support_y: Tensor, steps: int, ragged: bool
    ) -> Iterator[Answer]:
        """The tasks' answers after 0, 1, … steps; while the head alone moves, features are computed once."""
        start = net.start(self.params)
        if net.in_body:
            start, _ = laid_out(start, TaskBatch(support_x, support_y, support_x, support_y))
        own = {} if self._words is None else self._words.of_tasks(net.fresh, support_x, support_y)
        every = lambda name: start[name].expand(len(support_x), *start[name].shape)
        adapting = {name: own[name] if name in own else every(name) for name in net.adapts}
        plan = SCHEDULES[self.schedule](net.adapts, net.in_head, steps, self.head_steps, net.blocks)
        counted = (support_y != IGNORE,) if ragged else ()
        stage = partial(stage_path, self.rule, self.objective, support_y, ragged, own=own)
        alone = self._head_alone(net, plan)
        if alone:
            of_head = {name: start[name] for name in net.head.params()}
            of_body = {name: p for name, p in start.items() if name not in of_head}
            texts = self._texts

            if texts is not None:
                features = texts.all(texts.network.params(), support_x)
            else:
                of_support = lambda x, *counted: net.body(of_body, x, None, *counted)
                features = over_tasks(of_support, (0,) * (1 + len(counted)))(support_x, *counted)

            @lru_cache(maxsize=1)
            def asked(query_x: Tensor, query_counted: Tensor | None) -> Tensor:
                if texts is not None:
                    return texts.all(texts.network.params(), query_x)
                masks = (*counted, query_counted) if query_counted is not None else ()
                of_query = lambda *task: net.body.query(of_body, *task)
                return over_tasks(of_query, (0,) * (2 + len(masks)))(support_x, query_x, *masks)

            head = {name: adapting[name] for name in net.in_head}
            for moved, answer in stage(net.head, of_head, head, plan[:alone], features):
                yield partial(_through, asked, answer)
                head = moved
            adapting = adapting | head
        path = stage(net.whole, start, adapting, plan[alone:], support_x, linear=self.linearised)
        for _, answer in islice(path, int(alone > 0), None):  # its start is where the head's path ended
            yield answer

    def _head_alone(self, net: TaskNetwork, plan: Plan) -> int:
        """How many steps at the beginning the head's features stay the same, and its course is not taken up later."""
        if getattr(self.objective, "reads_inputs", False) or not net.in_head:
            return 0
        count = len(list(takewhile(lambda names: names == net.in_head, plan)))
        return 0 if net.in_head in plan[count:] else count

    @cached_property
    def _texts(self) -> Embedding | None:
        """Features of texts, each computed once; None for a network that makes no vector of a text."""
        return Embedding(self.model.module) if self._blind_to_padding else None

    @property
    def _blind_to_padding(self) -> bool:
        return reads_texts(self.model.module) and not self.model.normalises

    def _without_padding(self, x: Tensor) -> Tensor:
        """Texts without the places that none of them needs."""
        return trimmed(x) if self._blind_to_padding else x

    def _chunk(self, net: TaskNetwork, batch: TaskBatch) -> int:
        """How many tasks to compute together."""
        if not net.in_body:
            return max(default_size(batch), HEADS_AT_ONCE)
        return bounded_size(batch, sum(self.params[name].numel() for name in net.in_body))

    def _network(self, ways: int) -> TaskNetwork:
        """The network for so many ways; kept, as threads keep copies of it."""
        if self.head == "kept":
            if ways > self._trained_ways:
                raise MetaftError(f"the kept head has {self._trained_ways} outputs, the tasks {ways}; use head 'zeros'")
            ways = self._trained_ways
        if ways not in self._networks:
            self._networks[ways] = with_task_head(
                self.model.module,
                ways,
                scope=self.scope,
                head=self.head,
                seed=self.seed,
                batch_norm=self.model.batch_norm,
            )
        return self._networks[ways]

    def _ways(self, batch: TaskBatch) -> int:
        """How many outputs these tasks ask for."""
        require_support(batch.support_y)
        values, kl = batch.support_y.is_floating_point(), self.objective_name == "kl"
        if values and self._words is not None:
            raise MetaftError("head 'words' scores the words of classes, and this is a regression; use head 'zeros'")
        if values and kl:
            raise MetaftError("objective 'kl' compares class probabilities, and this is a regression; use 'l2'")
        if kl and batch.ragged and self.model.normalises and self.model.batch_norm != "running":
            raise MetaftError("objective 'kl' does not leave padding out of batch statistics; use batch_norm 'running'")
        self._latest_ways = batch.support_y.shape[-1] if values else int(batch.support_y.max()) + 1
        return self._latest_ways

    def _pretrained_answer(self, params: Params, x: Tensor) -> Tensor:
        """The scores the pretrained head gives on the features of a network that is being fine-tuned."""
        held = {} if self.head == "kept" else {name: self.params[name] for name in self._old_head}
        return self.model(params | held, x)

    def _require_sense(self, net: TaskNetwork) -> None:
        """Refuse parts that do not go together, before any task is drawn."""
        if self.rule.learned(self.params):
            raise MetaftError(f"rule {self.rule_name!r} learns its rates in meta-training; for fine-tuning, use 'sgd'")
        if not net.adapts:
            raise MetaftError(f"scope {self.scope!r} leaves nothing that adapts; leave out '!head'")
        if self.schedule == "head-first" and not net.in_head:
            raise MetaftError(
                f"schedule 'head-first' trains the head first, and the scope {self.scope!r} leaves the head out; give "
                "another scope, such as scope=all"
            )
        if self.schedule == "head-first" and not 0 < self.head_steps < self.steps:
            fewer = f"head_steps={self.steps // 2} (1 to {self.steps - 1} will do), or " if self.steps > 1 else ""
            raise MetaftError(
                f"schedule 'head-first' gives the head the first head_steps of all steps: {self.head_steps} of "
                f"{self.steps} will not do; give {fewer}steps={max(2 * self.head_steps, 2)}"
            )
        blind = self.head == "zeros" and bool(net.fresh) and not any(bool(p.any()) for p in net.fresh.values())
        if blind and not net.in_head:
            raise MetaftError("a head of zeros that does not adapt tells the body nothing; use head 'random'")
        if blind and self.linearised and self.schedule != "head-first":
            raise MetaftError(
                "expanded about a head of zeros, a network does not see its body; use schedule 'head-first' or "
                "head 'random'"
            )
        if self.objective_name == "l2-after":
            raise MetaftError("objective 'l2-after' belongs to meta-training by estimator 'implicit'; use 'l2'")
        if self.objective_name == "kl" and self.head == "words":
            raise MetaftError(
                "objective 'kl' holds the answers of a pretrained head, and head 'words' begins as words' vectors; "
                "hold what the network says of words, by objective 'kl-words'"
            )
        if self.objective_name == "kl" and self.head != "kept" and not net.in_body:
            raise MetaftError(
                "objective 'kl' holds the pretrained head's answers, which a new head cannot change; "
                "let the body adapt, or use objective 'l2'"
            )
        if self.objective_name == "kl-words" and not net.in_body:
            raise MetaftError(
                f"objective 'kl-words' holds what the body says of words, which scope {self.scope!r} leaves as it is; "
                "let the body adapt"
            )


def _through(features: Answer, answer: Answer, query_x: Tensor, counted: Tensor | None) -> Tensor:
    return answer(features(query_x, counted), None)


def _fixed(doc: str, **options: Any) -> Callable[..., FineTuning]:
    made = partial(FineTuning, **options)
    made.__doc__ = doc
    return made


head_first = _fixed("Fine-tuning, the head first, then all of it (LP-FT: Kumar et al. 2022).", schedule="head-first")
rotating = _fixed("Fine-tuning, one block a step and round again (Wright 2015).", schedule="rotating")
linearised = _fixed(
    "Fine-tuning of the linearised network, its head first (Mu, Liang & Li 2020).",
    schedule="head-first",
    linearised=True,
)
