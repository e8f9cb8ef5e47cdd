"""A network learns from scores of its answers, and goes on from a checkpoint as if nothing had been."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from metaft.elementary import draws
from metaft.language.sampling import sampled
from metaft.preferences.policy import VALUE, Policy
from metaft.preferences.ppo.kl_control import AdaptiveKL
from metaft.preferences.ppo.minibatches import MinibatchOrder
from metaft.preferences.ppo.ppo import PPO, experience, summary, update
from metaft.preferences.ppo.rollout import Rollout
from tests.prompting.small import network

PROMPTS = [(7, 8, 9), (12,), (30, 31, 32, 33)] * 5
ORDER = MinibatchOrder(len(PROMPTS), minibatches=2, epochs=2, seed=0)
ENDS, LOW = frozenset(range(300, 320)), 150


def scores(answers: Tensor) -> Tensor:
    """The share of an answer's words with a low number."""
    real = answers > 0
    return ((answers < LOW) & real).sum(-1).double() / real.sum(-1)


@dataclass
class Run:
    """All that changes."""

    params: dict[str, Tensor]
    adam: torch.optim.Adam
    beta: float
    rollout: Rollout | None = None
    updates: int = 0

    @classmethod
    def started(cls, params: dict[str, Tensor], beta: float) -> Run:
        own = {name: value.clone().requires_grad_() for name, value in params.items() if not name.startswith("head")}
        return cls(own, torch.optim.Adam(own.values(), lr=5e-3), beta)

    def kept(self) -> dict[str, Any]:
        """What a checkpoint holds; see `again`."""
        found = {name: value.detach().clone() for name, value in self.params.items()}
        rollout = self.rollout and {name: value.clone() for name, value in self.rollout.as_dict().items()}
        return {"params": found, "beta": self.beta, "rollout": rollout, "updates": self.updates,
                "adam": [{k: v.clone() for k, v in each.items()} for each in self.adam.state.values()]}  # fmt: skip

    @classmethod
    def again(cls, kept: dict[str, Any]) -> Run:
        made = cls.started(kept["params"], kept["beta"])
        for value, state in zip(made.params.values(), kept["adam"], strict=True):
            made.adam.state[value] = state
        made.rollout, made.updates = Rollout.from_dict(kept["rollout"]), kept["updates"]
        return made


def trained(run: Run, updates: int, keep_at: int | None = None) -> tuple[list[float], dict[str, Any] | None]:
    """Go on to so many updates; the score of each rollout, and what was kept."""
    model = network()
    policy, control, how = Policy(model, valued=True), AdaptiveKL(0.05, target=2.0), PPO()
    start = policy.params
    reference = lambda ids, asked: policy.scores_and_values(start, ids, asked)[0]
    rest = {name: value for name, value in start.items() if name not in run.params}
    told, kept = [], None
    while run.updates < updates:
        if run.updates == keep_at:
            kept = run.kept()
        number, *within = ORDER.place(run.updates)
        if within == [0, 0]:
            if run.rollout is not None:
                run.beta = control.after(run.beta, summary(run.rollout)["kl"])
            own = {name: value.detach() for name, value in run.params.items() if not name.startswith(VALUE)}
            model.load_state_dict(own, strict=False)
            said = sampled(model, PROMPTS, words=5, ends=ENDS, seed=draws.stream(0, number)).ids
            model.load_state_dict({name: value for name, value in start.items() if name in own}, strict=False)
            prompts = pad_sequence([torch.tensor(prompt) for prompt in PROMPTS], batch_first=True)
            params = {**rest, **run.params}
            run.rollout = experience(
                policy.scores_and_values, params, reference, prompts, said, scores(said), run.beta, how
            )
            told.append(summary(run.rollout)["score"])
        assert run.rollout is not None
        rows = run.rollout[ORDER.rows(run.updates)]
        losses, _ = update(policy.scores_and_values, {**rest, **run.params}, rows, how)
        run.adam.zero_grad()
        losses.mean().backward()
        run.adam.step()
        run.updates += 1
    return told, kept


def test_scores_rise_and_a_run_goes_on_exactly() -> None:
    params = Policy(network(), valued=True).params
    whole = Run.started(params, 0.05)
    told, kept = trained(whole, 4 * ORDER.updates, keep_at=2 * ORDER.updates + 3)
    assert told[-1] > told[0] + 0.15
    assert kept is not None
    again = Run.again(kept)
    rest, _ = trained(again, whole.updates)
    assert rest == told[3:]
    assert again.beta == whole.beta != pytest.approx(0.05)
    assert all(torch.equal(value, again.params[name]) for name, value in whole.params.items())
