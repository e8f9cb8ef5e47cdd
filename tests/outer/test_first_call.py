"""A loss is looked at once, before the first update: never again, whatever kind of callable it is."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import metaft
from metaft.outer import first_call


class Squared:
    """A loss that is a method: another object each time it is asked for."""

    def loss(self, params: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        return (x * params["w"] - y).square().mean()

    def query_loss(self, params: dict[str, Tensor], sx: Tensor, sy: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return self.loss(params, x, y)


def batch(examples: int = 3) -> metaft.TaskBatch:
    return metaft.TaskBatch(*(torch.ones(2, examples, 1) for _ in range(4)))


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    seen: list[str] = []
    look = first_call._look

    def counted(*given: Any) -> None:
        seen.append(given[-1])
        look(*given)

    monkeypatch.setattr(first_call, "_look", counted)
    return seen


@pytest.mark.parametrize("kind", ["method", "function", "with a query loss"])
def test_a_loss_is_looked_at_once_for_each_shape(kind: str, looks: list[str]) -> None:
    own, params = Squared(), {"w": torch.ones(1)}
    function = lambda params, x, y: (x * params["w"] - y).square().mean()

    def once(examples: int = 3) -> None:
        loss = function if kind == "function" else own.loss
        asked = {"query_loss": own.query_loss} if kind == "with a query loss" else {}
        metaft.meta_gradient(loss, params, batch(examples), rule=metaft.SGD(0.1), steps=1, **asked)

    for _ in range(3):
        once()
    assert looks == ["support", "query"]
    once(examples=4)
    assert looks == ["support", "query"] * 2


def test_an_eager_learner_is_looked_at_once(looks: list[str]) -> None:
    learner = metaft.learners.MAML(nn.Linear(1, 1), metaft.SGD(0.1), 1, kind="regression")
    for _ in range(3):
        learner.meta_gradient(batch())
    assert looks == ["support", "query"]


def test_another_loss_of_the_same_object_is_looked_at_too(looks: list[str]) -> None:
    class Both(Squared):
        def text(self, params: dict[str, Tensor], x: Tensor, y: Tensor) -> Any:
            return "no number"

    own = Both()
    how: dict[str, Any] = {"rule": metaft.SGD(0.1), "steps": 1}
    metaft.meta_gradient(own.loss, {"w": torch.ones(1)}, batch(), **how)
    with pytest.raises(metaft.MetaftError):
        metaft.meta_gradient(own.text, {"w": torch.ones(1)}, batch(), **how)
