"""Proximal policy optimisation of a language model, on one screen.

Again and again: answers are drawn (`metaft.language.sampling`) and scored, `experience` makes a rollout of them, and
some updates descend the loss of its minibatches (`update`, `MinibatchOrder`); then β follows (`KLControl`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from metaft.data.texts.labelled_texts import PADDING
from metaft.errors import MetaftError
from metaft.preferences.policy import Params
from metaft.preferences.ppo.advantages import generalised_advantages, whitened
from metaft.preferences.ppo.loss import entropies, explained_variance, policy_loss, text_means, value_loss
from metaft.preferences.ppo.rewards import ESTIMATORS, Estimator, kl_estimates, rewards
from metaft.preferences.ppo.rollout import Rollout, joined
from metaft.validate import require_count, require_positive


class ActorCritic(Protocol):
    """A causal language model and its values, as `metaft.preferences.policy.Policy.scores_and_values`."""

    def __call__(self, params: Params, ids: Tensor, asked: Tensor) -> tuple[Tensor, Tensor]:
        """What it says, and what it expects.

        Args:
            params: by name.
            ids: ``int64 [texts, places]``, 0 for padding, at the end.
            asked: ``bool [texts, places]``, not the first place.

        Returns:
            Scores for the words that could stand at each asked place, ``[asked, vocabulary]``, and the value of the
            text before it, ``[asked]``, text by text.
        """
        ...


class Reference(Protocol):
    """The model that the policy is to stay near to."""

    def __call__(self, ids: Tensor, asked: Tensor) -> Tensor:
        """Scores of words, ``[asked, vocabulary]``; arguments as of `ActorCritic`."""
        ...


@dataclass(frozen=True)
class PPO:
    """What can be chosen of the algorithm.

    Args:
        clip: ε of the policy's ratio.
        value_clip: ε of the values; None for no clipping.
        value_weight: of the values' loss.
        entropy_weight: of the entropy, which is added to what is climbed.
        gamma: the discount γ of a word.
        lam: λ of the advantages.
        kl: estimator of the distance to the reference, "k1" or "k3".
        whiten: whether advantages are whitened over a whole rollout.

    Raises:
        MetaftError: if a number does not fit.
    """

    clip: float = 0.2
    value_clip: float | None = 0.2
    value_weight: float = 0.1
    entropy_weight: float = 0.0
    gamma: float = 1.0
    lam: float = 0.95
    kl: Estimator = "k1"
    whiten: bool = True

    def __post_init__(self) -> None:
        require_positive(self.clip, "clip")
        if self.value_clip is not None:
            require_positive(self.value_clip, "value_clip")
        for name in ("value_weight", "entropy_weight"):
            if getattr(self, name) != 0:
                require_positive(getattr(self, name), name)
        for name in ("gamma", "lam"):
            if not 0 <= getattr(self, name) <= 1:
                raise MetaftError(f"{name} must lie in [0, 1], not {getattr(self, name)!r}")
        if self.kl not in ESTIMATORS:
            raise MetaftError(f"kl = {self.kl!r}: should be one of {', '.join(ESTIMATORS)}")


def experience(
    policy: ActorCritic,
    params: Params,
    reference: Reference,
    prompts: Tensor,
    answers: Tensor,
    scores: Tensor,
    beta: float,
    how: PPO,
    at_once: int = 16,
) -> Rollout:
    """A rollout, from answers that the policy gave: `measured`, then `credited`.

    Args:
        policy: as it was when it gave them: its log-probabilities are those that ratios are taken to.
        params: of it.
        reference: to which it is to stay near.
        prompts: ``int64 [texts, prompt's places]``, 0 for padding, at the end.
        answers: ``int64 [texts, places]``, likewise, one word at least each.
        scores: of the answers, ``[texts]``.
        beta: β of the distance to the reference, in units of the score a nat.
        how: the settings.
        at_once: texts that are read in one pass, which bounds memory.

    Returns:
        The rollout.
    """
    found = measured(policy, params, reference, prompts, answers, at_once)
    return credited(prompts, answers, *found, scores, beta, how)


@torch.no_grad()
def measured(
    policy: ActorCritic, params: Params, reference: Reference, prompts: Tensor, answers: Tensor, at_once: int = 16
) -> tuple[Tensor, Tensor, Tensor]:
    """What needs networks: each text by itself, so that ranks can share them. Arguments as of `experience`.

    Returns:
        log π, log π_ref and V at each word, ``[texts, places]`` each, 0 at padding.
    """
    parts = []
    for first in range(0, len(prompts), require_count(at_once, "at_once", 1)):
        before, said = (texts[first : first + at_once] for texts in (prompts, answers))
        (ids, asked), mask = joined(before, said), said != PADDING
        logits, values = policy(params, ids, asked)
        words, scores = said[mask], (logits, reference(ids, asked))
        flat = (*(_of_words(_log_softmax(each), words) for each in scores), _whole(values))
        parts.append([_placed(each, mask) for each in flat])
    log_probs, reference_log_probs, values = (torch.cat(part) for part in zip(*parts, strict=True))
    return log_probs, reference_log_probs, values


def credited(
    prompts: Tensor,
    answers: Tensor,
    log_probs: Tensor,
    reference_log_probs: Tensor,
    values: Tensor,
    scores: Tensor,
    beta: float,
    how: PPO,
) -> Rollout:
    """Rewards, advantages and returns of each word, of a whole rollout. Arguments as of `Rollout` and `experience`."""
    mask = answers != PADDING
    earned = rewards(scores, kl_estimates(log_probs, reference_log_probs, how.kl), mask, beta)
    advantages, returns = generalised_advantages(earned, values, mask, how.gamma, how.lam)
    if how.whiten:
        advantages = whitened(advantages, mask)
    return Rollout(
        prompts=prompts,
        answers=answers,
        mask=mask,
        log_probs=log_probs,
        reference_log_probs=reference_log_probs,
        values=values,
        scores=scores,
        rewards=earned,
        advantages=advantages,
        returns=returns,
    )


def update(
    policy: ActorCritic, params: Params, rows: Rollout, how: PPO, length: float | Tensor | None = None
) -> tuple[Tensor, dict[str, Tensor]]:
    """What an update descends the mean of: policy's loss + value_weight · values' loss − entropy_weight · entropy.

    Args:
        policy: to be updated.
        params: of it, with a gradient.
        rows: a minibatch of a rollout, or a part of it.
        how: the settings.
        length: words a text of the whole minibatch, where rows are a part of it; see `text_means`.

    Returns:
        ``[texts]``, whose mean is the mean over all words; and what is logged, likewise: policy_loss, value_loss,
        entropy, clipped_share, values_clipped_share, approximate_kl.
    """
    (ids, asked), mask = joined(rows.prompts, rows.answers), rows.mask
    logits, values = policy(params, ids, asked)
    said = _log_softmax(logits)
    log_probs = _placed(_of_words(said, rows.answers[mask]), mask)
    of_policy, logged = policy_loss(log_probs, rows.log_probs, rows.advantages, how.clip)
    of_values, more = value_loss(_placed(_whole(values), mask), rows.values, rows.returns, how.value_clip)
    entropy = _placed(entropies(said if how.entropy_weight else said.detach()), mask)
    mean = text_means(mask, length)
    losses = mean(of_policy + how.value_weight * of_values - how.entropy_weight * entropy)
    logged |= {"policy_loss": of_policy, "value_loss": of_values, "entropy": entropy, **more}
    return losses, {name: mean(value.detach()) for name, value in logged.items()}


def summary(rollout: Rollout) -> dict[str, float]:
    """What is logged of a rollout.

    Returns:
        score, the mean; kl, nats a text (the sum over words of log π − log π_ref, mean over texts), as `KLControl`
        wants it; reward, a text's; length, words a text; explained_variance, of returns by values.
    """
    kl = kl_estimates(rollout.log_probs, rollout.reference_log_probs)
    found = {
        "score": rollout.scores.mean(),
        "kl": kl.sum(-1).mean(),
        "reward": rollout.rewards.sum(-1).mean(),
        "length": rollout.mask.sum(-1).double().mean(),
        "explained_variance": explained_variance(rollout.values, rollout.returns, rollout.mask),
    }
    return {name: float(value) for name, value in found.items()}


def _of_words(log_probs: Tensor, words: Tensor) -> Tensor:
    """Those of words, ``[words]``, among those of all, ``[words, vocabulary]``."""
    return log_probs.gather(-1, words[:, None])[:, 0]


def _log_softmax(logits: Tensor) -> Tensor:
    return _whole(logits).log_softmax(-1)


def _placed(values: Tensor, mask: Tensor) -> Tensor:
    """Values of words, ``[words]``, at their places, ``[texts, places]``; 0 at padding."""
    return values.new_zeros(mask.shape).masked_scatter(mask, values)


def _whole(values: Tensor) -> Tensor:
    """In single precision at least, in which sums are taken."""
    return values.to(torch.promote_types(values.dtype, torch.float32))
