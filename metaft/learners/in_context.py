"""In-context learning: the support set is written into a prompt, and nothing moves (Brown et al. 2020)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, NoReturn, get_args

import torch
from torch import Tensor, nn

from metaft.additions.prompt_start import tokenizer_of
from metaft.data.texts.labelled_texts import Text
from metaft.errors import MetaftError, nearest
from metaft.learners.learner import Predictor
from metaft.models.words import require_goes_on
from metaft.prompting.calibration import Calibration
from metaft.prompting.choices import Candidates, Choice
from metaft.prompting.pattern_files import find_pattern
from metaft.prompting.prompt import Demonstration, Direction, Prompter, Score
from metaft.prompting.text_lookup import Texts
from metaft.prompting.verbalizer import described, words_for
from metaft.seeds import require_seed
from metaft.tables import CALIBRATIONS, CHOICES
from metaft.tasks.batch import IGNORE, TaskBatch
from metaft.tasks.random import generator
from metaft.validate import require_count

Order = Literal["shuffled", "given", "by-class"]
Combine = Literal["average", "votes"]
Prompts = tuple[tuple[Demonstration, ...], ...]
"""The demonstrations of each prompt, in order."""


@dataclass(frozen=True)
class Asked:
    """What one task's prompts say, beside its queries.

    Args:
        prompts: of all queries; none where they are chosen.
        words: of each class.
        chosen: tells the prompts of a query, where they are chosen.
    """

    prompts: Prompts
    words: tuple[tuple[str, ...], ...]
    chosen: Callable[[Text], Prompts] | None = None

    def of(self, query: Text) -> Prompts:
        """The prompts that a query stands behind."""
        return self.prompts if self.chosen is None else self.chosen(query)


class InContext:
    """A causal language model reads demonstrations, then the query, and says how probable each class's words are.

    Brown et al. 2020, "Language models are few-shot learners", §2.1. With ``shots=0`` no example is shown, and only the
    names of the task's classes are known (zero-shot). What all queries share is read once.

    Args:
        model: a causal network that says words, of Hugging Face or our own.
        texts: finds the texts of tasks, which hold numbers of any tokenizer; needed to answer tasks.
        pattern: how inputs and answers are written: one that comes with metaft for the data set, by name, or the path
            of a TOML file, perhaps with ``#name`` (see `metaft.prompting.pattern_files`); the first by default.
        shots: demonstrations of each class; all of the support set if None.
        order: of demonstrations: "shuffled" by the seed, "given" as the support set has them, or "by-class", by the
            classes' words.
        score: of an answer of several words: "sum" or "mean" of log-probabilities.
        calibration: contextual, domain or batch (``metaft parts calibration``); none if None.
        choice: of the demonstrations that are shown: nearest or validation (``metaft parts choice``), which says their
            order too; all if None.
        direction: "direct", or "channel": how probable the query is behind the class (Min et al. 2022).
        prompts: into how many prompts the support set is divided, whose answers are put together.
        combine: their answers: the "average" of probabilities, or "votes".
        seed: of the order.

    Raises:
        MetaftError: if the network says no next words, a pattern, option or word does not do.
    """

    name = "in-context"
    workers = 1
    params: dict[str, Tensor]

    def __init__(
        self,
        model: nn.Module,
        *,
        texts: Texts | None = None,
        pattern: str | None = None,
        shots: int | None = None,
        order: Order = "shuffled",
        score: Score = "sum",
        calibration: str | None = None,
        choice: str | None = None,
        direction: Direction = "direct",
        prompts: int = 1,
        combine: Combine = "average",
        seed: int = 0,
    ) -> None:
        require_goes_on(model, self.name)
        given = {"order": (order, Order), "score": (score, Score), "direction": (direction, Direction),
                 "combine": (combine, Combine)}  # fmt: skip
        for what, (value, known) in given.items():
            if value not in get_args(known):
                raise MetaftError(f"unknown {what} {value!r} of in-context{nearest(value, get_args(known))}")
        if shots is not None:
            require_count(shots, "shots of in-context", 0)
        require_count(prompts, "prompts of in-context", 1)
        if shots == 0 and prompts > 1:
            raise MetaftError("in-context: without shots there is nothing to divide into prompts; leave prompts out")
        if choice is not None and shots == 0:
            raise MetaftError(f"in-context: without shots choice={choice} has nothing to choose from; leave one out")
        if choice is not None and order != "shuffled":
            raise MetaftError(f"in-context: choice={choice} says the order of what it chooses; leave order={order} out")
        self.model, self.texts, self.params = model.eval(), texts, {}
        self.tokenizer = tokenizer_of(model, self.name)
        self.shots, self.order, self.prompts, self.combine = shots, order, prompts, combine
        self.score, self.direction, self.seed = score, direction, require_seed(seed)
        self.calibration: Calibration | None = None if calibration is None else CALIBRATIONS.make(calibration)
        self.calibrated = calibration
        self.choice: Choice | None = None if choice is None else CHOICES.make(choice)
        self.chooses = choice
        dataset, pairs = ("", False) if texts is None else (texts.dataset, texts.pairs)
        self.patterns, self.pattern = find_pattern(pattern, dataset, pairs)
        self.prompter = Prompter(model, self.tokenizer, self.pattern, direction, score)
        self.sent, self.cut = "", 0

    @property
    def transductive(self) -> bool:
        """Whether the calibration looks at all queries."""
        return self.calibration is not None and self.calibration.transductive

    @property
    def other_weights(self) -> dict[str, Tensor]:
        """Of networks that choose demonstrations, by name."""
        return {} if self.choice is None else self.choice.weights()

    def asked(self, support: Sequence[Text], labels: Sequence[int], names: Sequence[str]) -> Asked:
        """What the prompts of a task say.

        Args:
            support: inputs.
            labels: of them, places among the names.
            names: of the classes.

        Returns:
            Demonstrations and words.

        Raises:
            MetaftError: if two classes have a word in common, or there are fewer examples than shots or prompts.
        """
        words = words_for(names, self.patterns.words_of(self.pattern))
        examples = [(text, words[label][0], label) for text, label in zip(support, labels, strict=True)]
        said = 0
        if self.shots is not None:
            kept, seen = [], [0] * len(names)
            for example in examples:
                if seen[example[2]] < self.shots:
                    seen[example[2]] += 1
                    kept.append(example)
            if min(seen) < self.shots:
                raise MetaftError(
                    f"in-context: shots={self.shots}, and a class of this task has {min(seen)} support examples; give "
                    f"the tasks as many, --shots {self.shots}"
                )
            examples = kept
        if self.order == "shuffled":
            examples = sorted(examples, key=lambda example: (example[0], example[1]))
            digest = hashlib.sha256(repr([example[:2] for example in examples]).encode()).digest()  # the task's own
            said = int.from_bytes(digest[:8], "big")
            place = generator(self.seed, "demonstrations", said).permutation(len(examples))
            examples = [examples[i] for i in place]
        elif self.order == "by-class":
            examples = sorted(examples, key=lambda example: example[1])
        shown = [(text, word) for text, word, _ in examples]
        if self.choice is None:
            return Asked(self._divided(shown), tuple(words))

        def ask(places: Sequence[int], others: Sequence[int]) -> Tensor:
            prompts, texts = self._divided([shown[i] for i in places]), [shown[i][0] for i in others]
            each = [self._of_prompt([one] * len(texts), texts, words, choosing=True) for one in prompts]
            return torch.stack(each).log_softmax(-1).logsumexp(0)

        candidates = Candidates(
            tuple(text for text, _ in shown), tuple(label for _, _, label in examples), self.model, self.tokenizer,
            ask, generator(self.seed, "choice", said),
        )  # fmt: skip
        chooser = self.choice.chooser(candidates)
        return Asked((), tuple(words), lambda query: self._divided([shown[i] for i in chooser(query)]))

    def _divided(self, shown: Sequence[Demonstration]) -> Prompts:
        if self.prompts > max(len(shown), 1):
            raise MetaftError(f"in-context: {self.prompts} prompts, and {len(shown)} demonstrations; take fewer")
        return tuple(tuple(shown[i :: self.prompts]) for i in range(self.prompts))

    def scores(self, asked: Asked, queries: Sequence[Text]) -> Tensor:
        """Answers of one task.

        Args:
            asked: what its prompts say.
            queries: inputs.

        Returns:
            Log-probabilities of the classes, calibrated if asked for, ``float64 [queries, ways]``; or votes.

        Raises:
            MetaftError: if a prompt does not fit into the network's places.
        """
        shown = [asked.of(query) for query in queries]
        each = [self._of_prompt([own[i] for own in shown], queries, asked.words) for i in range(self.prompts)]
        if len(each) == 1:
            return each[0]
        together = torch.stack(each)
        if self.combine == "votes":
            votes = torch.zeros_like(each[0])
            for found in each:
                votes += torch.nn.functional.one_hot(found.argmax(-1), found.shape[-1])
            return votes + together.softmax(-1).mean(0) / 2  # equal votes: the more probable
        return together.log_softmax(-1).logsumexp(0)

    def _of_prompt(
        self,
        shown: Sequence[Sequence[Demonstration]],
        queries: Sequence[Text],
        words: Sequence[Sequence[str]],
        choosing: bool = False,
    ) -> Tensor:
        """Answers of queries behind their demonstrations; nothing is noted while these are being chosen."""
        fitted, texts = list[tuple[Demonstration, ...]](), list[Text]()
        for part in self._fitted_together(len(queries)):
            head, own, cut = self.prompter.fitted(shown[part[0]], [queries[i] for i in part], words)
            fitted += [tuple(head)] * len(own)
            texts += own
            self.cut += 0 if choosing else cut
        if not self.sent and texts and not choosing:
            self.sent = self.prompter.head(fitted[0]) + self.pattern.asked(texts[0])
        calibration = self.calibration
        if calibration is None or (choosing and calibration.transductive):
            return self.prompter.scores_each(fitted, texts, words)
        heads, more = list(dict.fromkeys(fitted)), [self._input(text) for text in calibration.asks()]
        behind_each = [*fitted, *(head for head in heads for _ in more)]
        found = self.prompter.scores_each(behind_each, [*texts, *(more * len(heads))], words)
        scores, behind = found[: len(texts)], found[len(texts) :].unflatten(0, (len(heads), len(more)))
        prior = cache(lambda: self.prompter.prior(words))
        if calibration.transductive:  # over all queries, whatever they stand behind
            return calibration(scores, behind.flatten(0, 1), prior)
        answers = torch.empty_like(scores)
        for one, own_behind in zip(heads, behind, strict=True):
            places = [i for i, held in enumerate(fitted) if held == one]
            answers[places] = calibration(scores[places], own_behind, prior)
        return answers

    def _fitted_together(self, queries: int) -> list[list[int]]:
        """The places of queries whose texts are cut together: those of one prompt."""
        if self.choice is not None and self.choice.own:
            return [[i] for i in range(queries)]
        return [list(range(queries))] if queries else []

    def _input(self, text: str) -> Text:
        return (text, text) if self.pattern.takes_pairs else text

    def adapt(self, support_x: Tensor, support_y: Tensor) -> Predictor:
        """Write the prompts.

        Args:
            support_x: ``int64 [tasks, support, places]``, 0 for padding.
            support_y: ``int64 [tasks, support]``, padding labelled `IGNORE`.

        Returns:
            ``query_x [tasks, queries, places] → scores [tasks, queries, ways]``.

        Raises:
            MetaftError: if the tasks are no texts of the data set.
        """
        asked = [self._task(x, y) for x, y in zip(support_x, support_y, strict=True)]
        ways = max(len(one.words) for one in asked)

        def predictor(query_x: Tensor) -> Tensor:
            told = [self._answers(one, x, ways) for one, x in zip(asked, query_x, strict=True)]
            return torch.stack(told).to(query_x.device)

        return predictor

    def curve(self, batch: TaskBatch, steps: int | None = None) -> Tensor:
        """Answers of all query sets; there are no inner steps, so ``steps`` changes nothing.

        Args:
            batch: the tasks.
            steps: ignored.

        Returns:
            ``[1, tasks, queries, ways]``.

        Raises:
            MetaftError: as `adapt`.
        """
        found = self.adapt(batch.support_x, batch.support_y)
        if not batch.ragged:
            return found(batch.query_x).unsqueeze(0)
        ways = int(batch.support_y.max()) + 1
        rows = []
        for x, y, query_x, query_y in zip(*batch.tensors(), strict=True):
            counted = query_y != IGNORE
            answers = torch.zeros(len(query_x), ways)
            answers[counted] = self._answers(self._task(x, y), query_x[counted], ways).to(answers.dtype)
            rows.append(answers)
        return torch.stack(rows).unsqueeze(0).to(batch.query_x.device)

    def _task(self, x: Tensor, y: Tensor) -> Asked:
        lookup, counted = self._lookup(), y != IGNORE
        x, y = x[counted], y[counted]
        return self.asked(lookup.texts(x), y.tolist(), [lookup.called(name) for name in lookup.classes(x, y)])

    def _answers(self, asked: Asked, query_x: Tensor, ways: int) -> Tensor:
        found = self.scores(asked, self._lookup().texts(query_x)).float()
        return torch.nn.functional.pad(found, (0, ways - found.shape[-1]), value=-torch.inf)

    def _lookup(self) -> Texts:
        if self.texts is None:
            raise MetaftError(
                "in-context writes texts into its prompts and is given numbers; make it with "
                "texts=metaft.prompting.TextLookup.of(family)"
            )
        return self.texts

    def meta_gradient(self, batch: TaskBatch) -> NoReturn:
        """Refuse: nothing of it moves.

        Raises:
            MetaftError: always.
        """
        raise MetaftError(f"{self.name} has no parameters to meta-train; evaluate it as it is")

    def describe(self) -> dict[str, Any]:
        """Its settings, flat, and the first prompt that it sent."""
        return {
            "learner": self.name,
            "pattern": self.pattern.text,
            "words": described(self.patterns.words_of(self.pattern)),
            **({"instruction": self.pattern.instruction} if self.pattern.instruction else {}),
            "shots": "all" if self.shots is None else self.shots,
            "order": self.order if self.chooses is None else "chosen",
            **({} if self.chooses is None else {"choice": self.chooses}),
            "score": self.score,
            "calibration": self.calibrated or "none",
            "direction": self.direction,
            **({"prompts": self.prompts, "combine": self.combine} if self.prompts > 1 else {}),
            "adapts": 0,
            "parameters": sum(value.numel() for value in self.model.parameters()),
            "prompt": self.sent,
            "cut": self.cut,
        }
