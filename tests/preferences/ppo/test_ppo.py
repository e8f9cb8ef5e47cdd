"""Rollouts and their updates, of a table and of a network."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from metaft.errors import MetaftError
from metaft.language.sampling import sampled
from metaft.preferences.policy import Policy
from metaft.preferences.ppo.loss import entropies
from metaft.preferences.ppo.ppo import PPO, experience, summary, update
from metaft.preferences.ppo.rewards import kl_estimates
from metaft.preferences.ppo.rollout import Rollout, joined
from tests.preferences.ppo.tabular import PROMPT, all_answers, policy, table
from tests.prompting.small import network

HOW = PPO(entropy_weight=0.3)
REFERENCE = table(1)


def rollout(how: PPO = HOW, wider: int = 0, at_once: int = 16) -> Rollout:
    """Of all answers to two prompts, of one and of three words."""
    answers = torch.nn.functional.pad(all_answers(2), (0, wider))
    prompts = torch.tensor([[PROMPT, 0, 0], [4, 5, PROMPT]])[torch.arange(len(answers)) % 2]
    prompts = torch.nn.functional.pad(prompts, (0, wider))
    scores = torch.randn(len(answers), dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    own = table(2)
    own["values"] = torch.randn(7, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    fixed = lambda ids, asked: policy(REFERENCE, ids, asked)[0]
    return experience(policy, own, fixed, prompts, answers, scores, 0.5, how, at_once)


def gradient(rows: Rollout, how: PPO, length: float | None = None) -> tuple[Tensor, dict[str, Tensor]]:
    params = {name: value.requires_grad_() for name, value in table(5).items()}
    losses, _ = update(policy, params, rows, how, length)
    return losses, dict(zip(params, torch.autograd.grad(losses.mean(), list(params.values())), strict=True))


def test_what_is_read_is_the_prompt_and_the_answer() -> None:
    ids, asked = joined(torch.tensor([[5, 6, 7], [8, 0, 0]]), torch.tensor([[1, 2, 0], [3, 4, 9]]))
    assert ids.tolist() == [[5, 6, 7, 1, 2], [8, 3, 4, 9, 0]]
    assert asked.tolist() == [[False, False, False, True, True], [False, True, True, True, False]]


@pytest.mark.parametrize("how", [HOW, PPO(value_clip=None, entropy_weight=0.0, clip=0.5, gamma=0.9, kl="k3")])
def test_the_gradient_is_that_of_finite_differences(how: PPO) -> None:
    rows, start = rollout(how), table(5)
    loss = lambda params: float(update(policy, params, rows, how)[0].mean())
    _, grads = gradient(rows, how)
    assert float(grads["words"][:, [0, PROMPT]].abs().max()) == 0
    for name, value in start.items():
        for place in torch.randperm(value.numel(), generator=torch.Generator().manual_seed(0))[:12].tolist():
            by = torch.zeros_like(value)
            by.view(-1)[place] = 1e-6
            numeric = (loss({**start, name: value + by}) - loss({**start, name: value - by})) / 2e-6
            assert float(grads[name].view(-1)[place]) == pytest.approx(numeric, abs=1e-8)


def test_padding_and_portions_change_nothing() -> None:
    plain, padded, alone = rollout(), rollout(wider=9), rollout(at_once=1)
    for name, value in plain.as_dict().items():
        other, size = padded.as_dict()[name], value.shape[-1]
        torch.testing.assert_close(other[..., :size], value, rtol=0, atol=1e-12)
        assert name == "scores" or not bool(other[..., size:].any())
        torch.testing.assert_close(alone.as_dict()[name], value, rtol=0, atol=1e-12)
    losses, grads = gradient(plain, HOW)
    same, others = gradient(padded, HOW)
    torch.testing.assert_close(losses, same, rtol=0, atol=1e-12)
    torch.testing.assert_close(grads, others, rtol=0, atol=1e-12)


def test_parts_of_a_minibatch_have_its_gradient_between_them() -> None:
    rows = rollout()
    losses, grads = gradient(rows, HOW)
    length, parts = int(rows.mask.sum()) / len(rows), (rows[:5], rows[5:])
    found = [gradient(part, HOW, length) for part in parts]
    torch.testing.assert_close(torch.cat([part for part, _ in found]), losses, rtol=0, atol=1e-12)
    for name, grad in grads.items():
        mean = sum(len(part) * own[name] for part, (_, own) in zip(parts, found, strict=True)) / len(rows)
        torch.testing.assert_close(mean, grad, rtol=0, atol=1e-12)


def test_a_rollout_goes_to_a_checkpoint_and_back() -> None:
    whole = rollout()
    again = Rollout.from_dict({name: value.clone() for name, value in whole.as_dict().items()})
    assert all(torch.equal(value, again.as_dict()[name]) for name, value in whole.as_dict().items())
    some = whole[torch.tensor([3, 1])]
    assert len(some) == 2
    assert torch.equal(some.to("cpu").answers, whole.answers[[3, 1]])
    assert len(whole[2:5]) == 3


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"scores": None}, "a rollout has prompts"),
        ({"values": torch.zeros(2, 2)}, "do not agree"),
        ({"scores": torch.zeros(3)}, "do not agree"),
        ({"rewards": torch.zeros(21, 2, dtype=torch.long)}, "another kind: rewards"),
        ({"answers": torch.ones(21, 2)}, "another kind: answers"),
        ({"mask": torch.ones(21, 2, dtype=torch.bool)}, "mask of a rollout"),
    ],
)
def test_what_is_no_rollout_is_refused(change: dict[str, Any], said: str) -> None:
    found = {**rollout().as_dict(), **change}
    with pytest.raises(MetaftError, match=said):
        Rollout.from_dict({name: value for name, value in found.items() if value is not None})


def test_what_is_logged() -> None:
    rows = rollout(replace(HOW, whiten=False))
    own = {**table(2), "values": torch.randn(7, dtype=torch.float64, generator=torch.Generator().manual_seed(3))}
    losses, logged = update(policy, own, rows, HOW)  # at the policy that said the words
    told = {name: float(value.mean()) for name, value in logged.items()}
    real = rows.mask
    assert told["approximate_kl"] == pytest.approx(0, abs=1e-12)
    assert told["clipped_share"] == told["values_clipped_share"] == 0
    assert told["policy_loss"] == pytest.approx(-float(rows.advantages[real].mean()), abs=1e-12)
    assert told["value_loss"] == pytest.approx(float(rows.advantages[real].square().mean()) / 2, abs=1e-12)
    ids, asked = joined(rows.prompts, rows.answers)
    expected = entropies(policy(own, ids, asked)[0].log_softmax(-1)).mean()
    assert told["entropy"] == pytest.approx(float(expected), abs=1e-12)
    whole = told["policy_loss"] + 0.1 * told["value_loss"] - 0.3 * told["entropy"]
    assert float(losses.mean()) == pytest.approx(whole, abs=1e-12)
    seen = summary(rows)
    kl = kl_estimates(rows.log_probs, rows.reference_log_probs).sum(-1).mean()
    assert seen["kl"] == pytest.approx(float(kl), abs=1e-12)
    assert seen["reward"] == pytest.approx(seen["score"] - 0.5 * seen["kl"], abs=1e-12)
    assert seen["length"] == pytest.approx(float(real.sum()) / len(rows))


def test_a_networks_words_have_the_log_probabilities_that_they_were_drawn_with() -> None:
    model = network()
    both = Policy(model, valued=True)
    params, said = both.params, both.scores_and_values
    params["value.weight"] = torch.randn(1, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    texts = [(7, 8, 9), (12,), (30, 31, 32, 33, 34)]
    found = sampled(model, texts, words=6, ends={sampled(model, texts, words=3, ends=()).texts()[1][2]})
    prompts = torch.nn.utils.rnn.pad_sequence([torch.tensor(text) for text in texts], batch_first=True)
    reference = lambda ids, asked: said(params, ids, asked)[0]
    scores = torch.tensor([1.0, -1.0, 0.5], dtype=torch.float64)
    made = experience(said, params, reference, prompts, found.ids, scores, 0.1, PPO(), at_once=2)
    torch.testing.assert_close(made.log_probs, found.log_probabilities, rtol=0, atol=1e-9)
    assert torch.equal(made.mask.sum(-1), found.lengths)
    torch.testing.assert_close(made.rewards.sum(-1), scores)  # the reference is the policy itself
    leaves = {name: value.requires_grad_() for name, value in params.items() if not name.startswith("head")}
    losses, _ = update(said, {**params, **leaves}, made, PPO())
    grads = torch.autograd.grad(losses.mean(), list(leaves.values()))
    assert all(bool(grad.any()) for grad in grads)


@pytest.mark.parametrize(
    ("options", "said"),
    [({"clip": 0}, "clip must"), ({"lam": 1.5}, "lam must lie"), ({"gamma": -1}, "gamma must lie"),
     ({"value_weight": -1}, "value_weight must"), ({"kl": "k2"}, "kl = 'k2'"), ({"value_clip": 0}, "value_clip must")],
)  # fmt: skip
def test_settings_that_do_not_do_are_one_line(options: dict[str, Any], said: str) -> None:
    with pytest.raises(MetaftError, match=said):
        PPO(**options)
