"""Scores with a gradient, and vectors that are trained before a text."""

from __future__ import annotations

import pytest
import torch

from metaft.errors import MetaftError
from metaft.prompting.log_probability import log_probabilities
from metaft.prompting.soft_prompt import tuned
from metaft.prompting.teacher_forcing import forced
from tests.prompting.small import network

PAIRS = [((7, 8, 9), (20, 21)), ((7, 8), (22,)), ((30, 31, 32, 33), (20, 21, 22)), ((12,), (40,))]


def test_scores_with_a_gradient_are_those_without() -> None:
    model = network()
    found = forced(model, PAIRS)
    torch.testing.assert_close(found.detach(), log_probabilities(model, PAIRS), rtol=0, atol=1e-9)
    found.sum().backward()
    assert all(p.grad is not None for name, p in model.named_parameters() if not name.startswith("head"))


def test_vectors_alone_are_trained_and_the_best_on_validation_are_kept() -> None:
    model, told = network(), list[float]()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    options = {"seed": 3, "length": 2, "steps": 12, "batch": 2, "lr": 2.0, "every": 2}
    found = tuned(model, PAIRS[:2], PAIRS[2:], **options, progress=lambda step, loss: told.append(loss))  # type: ignore[arg-type]
    for name, value in before.items():
        assert torch.equal(model.state_dict()[name], value)
        assert torch.equal(found.state_dict()[name], value)
    held = -float(log_probabilities(found, PAIRS[2:]).mean())
    assert len(told) == 7
    assert held == pytest.approx(min(told), abs=1e-9)
    assert held < told[0]
    assert held < told[-1]  # those of the last step are others
    again = tuned(model, PAIRS[:2], PAIRS[2:], **options)  # type: ignore[arg-type]
    assert all(torch.equal(a, b) for a, b in zip(found.state_dict().values(), again.state_dict().values(), strict=True))


@pytest.mark.parametrize(
    ("options", "said"),
    [({"steps": -1}, "steps must"), ({"lr": 0.0}, "lr must"), ({"length": 0}, "the length of prompt")],
)
def test_what_does_not_do_is_one_line(options: dict[str, int], said: str) -> None:
    with pytest.raises(MetaftError, match=said):
        tuned(network(), PAIRS, PAIRS, seed=0, **options)  # type: ignore[arg-type]
