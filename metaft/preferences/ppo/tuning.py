"""Tuning by a reward, with reinforcement learning: proximal policy optimisation in the training loop."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from metaft.elementary import draws
from metaft.errors import MetaftError
from metaft.language.sampling import sampled
from metaft.outer.mean_gradient import MetaGradient
from metaft.preferences.examples import Prompts
from metaft.preferences.learner import Tuning
from metaft.preferences.objective import Data
from metaft.preferences.policy import VALUE, WORDS, Params, Policy
from metaft.preferences.ppo.kl_control import AdaptiveKL, FixedKL, KLControl
from metaft.preferences.ppo.minibatches import MinibatchOrder
from metaft.preferences.ppo.ppo import PPO, experience, summary, update
from metaft.preferences.ppo.rollout import Rollout
from metaft.preferences.scorer import Scorer
from metaft.tasks.batch import TaskBatch
from metaft.validate import require_count, require_positive

BETA = "beta"
"""What the coefficient is kept as, beside the rollout's tensors."""


@dataclass(frozen=True, kw_only=True)
class PPOTuning(PPO):
    """Answers are drawn, scored, made likelier or less; a nat of KL(π ‖ reference) costs β (Ouyang et al. 2022, eq. 2).

    Args:
        beta: β, in units of the score; of an adaptive one the first.
        target: the KL divergence of a text that β is adapted to, in nats; β stays as it is if None.
        words: how many an answer has at most.
        epochs: how often the answers of a rollout are used.
        minibatches: into which they are parted; each is an update.
        limit: a mean KL divergence of a text, in nats, beyond which the policy has collapsed and the run stops.
        clip: ε of the policy's ratio.
        value_clip: ε of the values; None for no clipping.
        value_weight: of the values' loss.
        entropy_weight: of the entropy, which is added to what is climbed.
        gamma: the discount γ of a word.
        lam: λ of the advantages.
        kl: estimator of the divergence, "k1" or "k3".
        whiten: whether advantages are whitened over a whole rollout.

    Raises:
        MetaftError: if a number does not fit.
    """

    beta: float = 0.05
    target: float | None = None
    words: int = 32
    epochs: int = 2
    minibatches: int = 2
    limit: float = 200.0
    data: ClassVar[Data] = "prompts"
    has_reference: ClassVar[bool] = False  # it is asked when a rollout is made
    is_reward: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("words", "epochs", "minibatches"):
            require_count(getattr(self, name), name, 1)
        require_positive(self.limit, "limit")
        self.control.start()

    @property
    def control(self) -> KLControl:
        """How β follows."""
        return FixedKL(self.beta) if self.target is None else AdaptiveKL(initial=self.beta, target=self.target)

    @property
    def plain(self) -> PPO:
        """The algorithm's own settings."""
        return PPO(**{entry.name: getattr(self, entry.name) for entry in fields(PPO)})

    def losses(
        self, policy: Policy, params: Params, batch: Any, reference: Tensor | None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Of a minibatch of a rollout, see `PPOLearner`."""
        raise NotImplementedError

    def referred(self, policy: Policy, params: Params, batch: Any) -> Tensor:
        """Nothing."""
        raise NotImplementedError


class PPOLearner(Tuning):
    """A policy that learns from the scores of its own answers.

    An update of the training loop is one of a minibatch. The first of a rollout draws answers, scores them and keeps
    all that the others need in ``kept``, which a checkpoint holds: a run that goes on in the middle of a rollout is the
    same run.

    Args:
        model: as of `Tuning`; values are added to it.
        trains: the names of what moves; values move too.
        objective: the settings.
        score: says what answers are worth.
        ends: words that end an answer.
        seed: of what is drawn.

    Raises:
        MetaftError: as `Tuning`.
    """

    objective: PPOTuning

    def __init__(
        self, model: nn.Module, trains: Sequence[str], objective: PPOTuning, score: Scorer, ends: Collection[int],
        seed: int = 0,
    ) -> None:  # fmt: skip
        super().__init__(model, trains, objective)
        self.name, self.policy = "ppo", Policy(model, valued=True)
        self.params = self.policy.params
        self.trains = (*self.trains, *(name for name in self.params if name.startswith(VALUE)))
        self.score, self.ends, self.seed = score, frozenset(ends), seed
        self.kept: dict[str, Tensor] = {}

    def meta_gradient(self, batch: TaskBatch) -> MetaGradient:
        """The loss of a minibatch of the rollout at hand, and its gradient.

        Args:
            batch: the rollout's prompts; it says which update this is.

        Returns:
            Loss, gradients of what moves and the loss of each answer.

        Raises:
            MetaftError: if the policy has collapsed, or an answer cannot be scored.
        """
        prompts = _prompts(batch)
        how, number = self.objective, int(prompts.update[0])
        order = MinibatchOrder(prompts.tasks, how.minibatches, how.epochs, self.seed)
        rollout, epoch, minibatch = order.place(number)
        if epoch == minibatch == 0:
            self._roll(prompts, rollout)
        kept = Rollout.from_dict({name: value for name, value in self.kept.items() if name != BETA})
        rows = kept[order.rows(number).to(kept.scores.device)]
        leaves = {name: self.params[name].detach().requires_grad_() for name in self.trains}
        total = {name: torch.zeros_like(value) for name, value in leaves.items()}
        length, losses, seen = (
            rows.mask.sum(-1).double().mean().to(rows.scores.dtype),
            list[Tensor](),
            dict[str, float](),
        )
        for part in _parts(rows):
            with torch.enable_grad():
                found, more = update(self.policy.scores_and_values, {**self.params, **leaves}, part, how.plain, length)
                grads = torch.autograd.grad(found.sum() / len(rows), list(leaves.values()), materialize_grads=True)
            torch._foreach_add_(list(total.values()), list(grads))
            losses.append(found.detach())
            for name, value in more.items():
                seen[name] = seen.get(name, 0.0) + float(value.sum()) / len(rows)
        told = summary(kept)
        self._watched = {**told, **seen, BETA: float(self.kept[BETA])}
        every, nothing = torch.cat(losses), losses[0].new_empty(0)
        return MetaGradient(every.mean(), total, every, nothing, nothing)

    def _roll(self, prompts: Prompts, number: int) -> None:
        """Draw a rollout's answers and keep it; β follows the one before."""
        how, control = self.objective, self.objective.control
        before = self.kept.get(BETA)
        beta = control.start() if before is None else float(before)
        found = self.rolled(prompts, self.params, draws.stream(self.seed, number), beta)
        if bool((found.mask.sum(-1) == 1).all()) and bool(torch.isin(found.answers[:, 0].cpu(), self._stops()).all()):
            raise MetaftError(
                "the policy has collapsed: all its answers are empty; look at what the reward likes, try a smaller "
                "rate (--outer-lr) or a larger ppo:beta=…"
            )
        distance = summary(found)["kl"]
        if distance > how.limit:
            raise MetaftError(
                f"the policy has collapsed: its KL divergence is {distance:.0f} nats a text, the limit {how.limit:g} "
                "(ppo:limit=…); try a smaller rate (--outer-lr), or a larger ppo:beta=…"
            )
        self.kept.clear()
        after = control.after(beta, distance)
        self.kept.update({**found.as_dict(), BETA: torch.tensor(after, dtype=torch.float64)})

    @torch.no_grad()
    def rolled(self, prompts: Prompts, params: Params, seed: int, beta: float) -> Rollout:
        """Answers of a policy and what they earn.

        Args:
            prompts: what is to be answered.
            params: the policy's.
            seed: of the draws.
            beta: what a nat of divergence costs.

        Returns:
            The rollout.
        """
        texts = [tuple(row[row != 0].tolist()) for row in prompts.query_x.cpu()]
        numbers = prompts.number.tolist()
        with self.policy.holding(params) as model:
            said = sampled(
                model, texts, words=self.objective.words, ends=self.ends, seed=seed, numbers=numbers,
                vocabulary=getattr(model, "vocabulary", None),
            )  # fmt: skip
        scores = self.score(list(zip(texts, said.texts(), strict=True))).to(said.ids.device)
        start = {**params, **self.start}
        reference = lambda ids, asked: self.policy.scores_and_values(start, ids, asked)[0]
        longest = max(map(len, texts))
        return experience(
            self.policy.scores_and_values, params, reference, prompts.query_x[:, :longest], said.ids, scores, beta,
            self.objective.plain, max(1, WORDS // (longest + said.ids.shape[1])),
        )  # fmt: skip

    def scores(self, batch: Any, params: Params | None = None) -> dict[str, Tensor]:
        """What the policy's own answers are worth, drawn by the same random numbers every time.

        Args:
            batch: the prompts.
            params: of the policy; the learner's own if None.

        Returns:
            Each ``[prompts]``: ``score``, ``kl`` in nats, ``words``, and whether it ``ended``.
        """
        found = self.rolled(_prompts(batch), params or self.params, draws.stream(self.seed, -1), self.objective.beta)
        last = found.answers.gather(-1, found.mask.sum(-1, keepdim=True) - 1)[:, 0]
        return {
            "score": found.scores,
            "kl": (found.log_probs - found.reference_log_probs).sum(-1),
            "words": found.mask.sum(-1).to(found.scores.dtype),
            "ended": torch.isin(last, self._stops().to(last.device)).to(found.scores.dtype),
        }

    def _stops(self) -> Tensor:
        return torch.tensor(sorted(self.ends), dtype=torch.long)

    def curve(self, batch: TaskBatch, steps: int | None = None) -> Tensor:
        """A place for each prompt; what it answers is drawn, see `scores`.

        Args:
            batch: the prompts.
            steps: ignored; nothing steps.

        Returns:
            Zeros, ``[1, prompts, places, 1]``.
        """
        return torch.zeros(1, *batch.query_x.shape[:2], 1, device=batch.query_x.device)


def _parts(rows: Rollout) -> list[Rollout]:
    """A minibatch in parts of no more than `WORDS` words, padding with them."""
    size = max(1, WORDS // (rows.prompts.shape[1] + rows.answers.shape[1]))
    return [rows[first : first + size] for first in range(0, len(rows), size)]


def _prompts(batch: TaskBatch) -> Prompts:
    if not isinstance(batch, Prompts):
        raise MetaftError(f"PPO takes prompts of metaft.preferences, not {type(batch).__name__}")
    return batch
