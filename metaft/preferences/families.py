"""Instructions and preferences as task families: each example a task without support."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor

from metaft.distributed.world import ALONE, World
from metaft.errors import MetaftError
from metaft.evaluation.statistics import mean_interval
from metaft.evaluation.validation import Validation
from metaft.preferences.examples import Answers, Examples, Ids, Pairs, Prompts, padded
from metaft.preferences.packing import Packed, pack
from metaft.preferences.turn_form import TurnForm
from metaft.preferences.voice import Voice
from metaft.seeds import require_seed
from metaft.tasks import epochs
from metaft.tasks.batch import TaskBatch
from metaft.tasks.family import Kind

TOGETHER = 32
"""Examples that are scored at once."""
BINS = 10
"""Of equal width, in which how sure a reward model is stands beside how often it is right."""


class Scored(Protocol):
    """What tells the loss of examples, see `metaft.preferences.learner`."""

    def scores(self, batch: Any) -> dict[str, Tensor]:
        """Each ``[examples, …]``."""
        ...


@dataclass(frozen=True)
class _Family:
    """Examples in a new order every epoch.

    Args:
        texts: prompt and answer, as numbers; of pairs one after the other, the chosen one first.
        places: of the longest text.
        name: of the data set, for the record.
        split: "train" or "val".
        told: what identifies the data, for the record.
        seed: of the order.
        files: what a run keeps beside its weights, such as the template: path → content.
        voice: shows what a learner says to the first prompts; None for nothing.
        form: what answers to its prompts are held to when a model is scored; None where none are given.

    Raises:
        MetaftError: if there is no example.
    """

    texts: Sequence[tuple[Ids, Ids]] = field(repr=False)
    places: int
    name: str
    split: str
    told: dict[str, object] = field(default_factory=dict, repr=False)
    seed: int = 0
    files: dict[str, str] = field(default_factory=dict, repr=False)
    voice: Voice | None = field(default=None, repr=False)
    form: TurnForm | None = field(default=None, repr=False)
    kind: ClassVar[Kind] = "classification"
    each: ClassVar[int] = 1
    answers: ClassVar[int] = 1

    def __post_init__(self) -> None:
        require_seed(self.seed)
        if not self.texts:
            raise MetaftError(f"{self.name} ({self.split}) holds no examples; give more, or another --split-seed")

    def __len__(self) -> int:
        """Examples of an epoch."""
        return len(self.texts) // self.answers

    @property
    def outputs(self) -> int:
        """A score for each answer."""
        return self.answers

    @property
    def run_files(self) -> dict[str, str]:
        """What a run keeps beside its weights."""
        return self.files

    def batch(self, index: int, tasks: int) -> Examples:
        """Draw the index-th minibatch; pure in (seed, split, index, tasks).

        Args:
            index: which minibatch.
            tasks: how many examples.

        Returns:
            The examples, without support.
        """
        purpose = f"{self.split}/{type(self).__name__}"
        return self.of(epochs.rows(self.seed, purpose, index, tasks, len(self)).tolist())

    def of(self, rows: Sequence[int]) -> Examples:
        """Some examples, by number."""
        raise NotImplementedError

    def prompts(self, count: int) -> list[Ids]:
        """The first prompts.

        Args:
            count: how many examples they are of.
        """
        return [tuple(prompt) for prompt, _ in self.texts[:: self.answers][:count]]

    def _padded(self, rows: Sequence[int]) -> tuple[Tensor, Tensor]:
        chosen = [self.texts[self.answers * row + answer] for row in rows for answer in range(self.answers)]
        return padded(chosen, self.places)

    def first(self, tasks: int) -> Iterator[Examples]:
        """The first examples in their own order, some at a time."""
        count = min(tasks, len(self))
        return (self.of(range(at, min(at + TOGETHER, count))) for at in range(0, count, TOGETHER))

    def describe(self) -> dict[str, object]:
        """The settings that identify this family."""
        return {
            **self.told,
            "family": type(self).__name__,
            "examples": len(self),
            "places": self.places,
            "seed": self.seed,
        }


@dataclass(frozen=True)
class InstructionFamily(_Family):
    """Prompts with an answer each."""

    metric: ClassVar[str] = "perplexity"
    counted: ClassVar[str] = "answers"
    input_shape: ClassVar[tuple[int, ...]] = ()

    def of(self, rows: Sequence[int]) -> Answers:
        """As `_Family`."""
        return _answers(*self._padded(rows))

    def score(self, learner: Scored, tasks: int, device: torch.device | str, world: World = ALONE) -> Validation:
        """Perplexity of the answers of the first examples, the same ones every time.

        Args:
            learner: the language model.
            tasks: how many examples.
            device: where it computes.
            world: the ranks that share them.

        Returns:
            Perplexity a word of an answer, its interval over answers.
        """

        def scored(batch: TaskBatch, first: int) -> Tensor:
            found = learner.scores(batch.to(device))
            return torch.stack([found["sum"].double().cpu(), found["words"].double().cpu()])

        loss, words = world.map_tasks(scored, self.first(tasks))
        mean = float(loss.sum() / words.sum())
        _, ci95 = mean_interval((loss - mean * words) / words.mean())
        perplexity = math.exp(min(mean, 50.0))
        return Validation(mean, perplexity, perplexity * ci95, -perplexity)


@dataclass(frozen=True)
class PackedInstructions(InstructionFamily):
    """Rows of several prompts with their answers, as many as fit; which are together stays the same."""

    @cached_property
    def _rows(self) -> Packed:
        whole = [([*prompt, *answer], [False] * len(prompt) + [True] * len(answer)) for prompt, answer in self.texts]
        return pack(whole, self.places)

    def __len__(self) -> int:
        """Rows of an epoch."""
        return len(self._rows.ids)

    def of(self, rows: Sequence[int]) -> Answers:
        """As `_Family`."""
        chosen, own = torch.tensor(list(rows)), self._rows
        return _answers(own.ids[chosen], own.asked[chosen], own.segments[chosen])


@dataclass(frozen=True)
class PreferenceFamily(_Family):
    """Prompts with two answers each, of which people like the first better.

    Args:
        targets: the probability that they do, from a half to 1, for each pair; empty where it is certain of all.
    """

    targets: Sequence[float] = field(default=(), repr=False)
    metric: ClassVar[str] = "loss"
    counted: ClassVar[str] = "pairs"
    answers: ClassVar[int] = 2

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Both answers."""
        return (2, self.places)

    def of(self, rows: Sequence[int]) -> Pairs:
        """As `_Family`."""
        ids, asked = (t.unflatten(0, (len(rows), 2)) for t in self._padded(rows))
        x, y = ids.unsqueeze(1), torch.zeros((len(rows), 1), dtype=torch.long)
        target = torch.tensor([self.targets[row] for row in rows]) if self.targets else torch.ones(len(rows))
        return Pairs(x[:, :0], y[:, :0], x, y, layout="sequences", asked=asked, target=target)

    def score(self, learner: Scored, tasks: int, device: torch.device | str, world: World = ALONE) -> Validation:
        """How often the better answer of the first pairs has the higher score, the same pairs every time.

        Args:
            learner: scores answers: a reward model, or a policy by its implicit rewards.
            tasks: how many pairs.
            device: where it computes.
            world: the ranks that share them.

        Returns:
            The loss and its interval over pairs, by which the best weights are chosen; the accuracy and its own, the
            mean margin, and the calibration error of σ(margin) (Naeini et al. 2015, in ten bins).
        """

        def scored(batch: TaskBatch, first: int) -> Tensor:
            found = learner.scores(batch.to(device))
            return torch.stack([found["loss"].double().cpu(), *found["scores"].double().cpu().unbind(-1)])

        loss, chosen, rejected = world.map_tasks(scored, self.first(tasks))
        margin = chosen - rejected
        mean, ci95 = mean_interval(loss)
        accuracy, own = mean_interval((margin > 0).double() + 0.5 * (margin == 0).double())
        more = {"accuracy": accuracy, "accuracy_ci95": own, "margin": float(margin.mean())}
        more |= {"chosen": float(chosen.mean()), "rejected": float(rejected.mean())}
        return Validation(mean, mean, ci95, -mean, more | {"calibration_error": calibration_error(margin)})


@dataclass(frozen=True)
class PromptFamily(_Family):
    """Prompts without an answer; those of one rollout are drawn for all its updates.

    Args:
        updates: how many updates are made from a rollout.
        beta: what a nat of divergence costs, for the score.
    """

    updates: int = 1
    beta: float = 0.0
    metric: ClassVar[str] = "reward"
    counted: ClassVar[str] = "answers"
    input_shape: ClassVar[tuple[int, ...]] = ()

    def batch(self, index: int, tasks: int) -> Prompts:
        """As `_Family`, ``index`` being the number of an update."""
        purpose = f"{self.split}/{type(self).__name__}"
        rollout = index // self.updates
        found = self.of(epochs.rows(self.seed, purpose, rollout, tasks, len(self)).tolist())
        # Two of one rollout may have the same prompt, and are to be answered differently.
        number = torch.arange(len(found.number)) + rollout * tasks
        return replace(found, number=number, update=torch.full_like(number, index))

    def of(self, rows: Sequence[int]) -> Prompts:
        """As `_Family`."""
        ids, _ = self._padded(rows)
        number = torch.tensor(list(rows))
        return Prompts(
            ids[:, :0], ids[:, :0], ids, torch.zeros_like(ids), layout="sequences", number=number,
            update=torch.zeros_like(number),
        )  # fmt: skip

    def score(self, learner: Scored, tasks: int, device: torch.device | str, world: World = ALONE) -> Validation:
        """What a policy's answers to the first prompts are worth, drawn by the same numbers every time.

        Args:
            learner: the policy.
            tasks: how many prompts.
            device: where it computes.
            world: the ranks that share them.

        Returns:
            The mean of score − β · KL, what PPO climbs, and its interval over prompts; both apart, words an answer, and
            the share of answers that ended.
        """

        def scored(batch: TaskBatch, first: int) -> Tensor:
            found = learner.scores(batch.to(device))
            return torch.stack([found[name].double().cpu() for name in ("score", "kl", "words", "ended")])

        score, kl, words, ended = world.map_tasks(scored, self.first(tasks))
        mean, ci95 = mean_interval(score - self.beta * kl)
        more = {"score": float(score.mean()), "kl": float(kl.mean()), "words": float(words.mean())}
        return Validation(-mean, mean, ci95, mean, more | {"ended": float(ended.mean())})


def _answers(ids: Tensor, asked: Tensor, segments: Tensor | None = None) -> Answers:
    words, nothing = asked.sum(-1).double(), ids[:, :0]
    weight = (words / words.mean()).float()
    return Answers(
        nothing, nothing, ids, torch.zeros_like(ids), layout="sequences", asked=asked, weight=weight, segments=segments
    )


def calibration_error(margin: Tensor) -> float:
    """How far a reward model's certainty is from how often it is right (Naeini et al. 2015).

    Args:
        margin: ``[pairs]``, the reward of the answer that people like better less that of the other.

    Returns:
        Σ share · |right − certainty| over bins of equal width between one half and 1.
    """
    certainty, right = margin.abs().sigmoid(), (margin > 0).double()
    place = ((certainty - 0.5) * 2 * BINS).long().clamp(max=BINS - 1)
    gap = torch.zeros(BINS, dtype=torch.double).index_add(0, place, right - certainty)
    return float(gap.abs().sum() / len(margin))
