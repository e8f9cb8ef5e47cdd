"""A learner small enough to check a run against: MAML with one inner step, by torch.func alone."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import grad, grad_and_value, vmap
from torch.nn.functional import linear

from metaft.tasks.batch import TaskBatch
from metaft.tasks.sinusoid import Sinusoids


@dataclass
class Gradient:
    loss: Tensor
    grads: dict[str, Tensor]
    losses: Tensor


def _net(params: dict[str, Tensor], x: Tensor) -> Tensor:
    # Not functional_call, which puts the parameters into the module while it runs: ranks in tests may be threads.
    return linear(torch.tanh(linear(x, params["0.weight"], params["0.bias"])), params["2.weight"], params["2.bias"])


class LinearMaml:
    """MAML by torch.func on a small tanh network."""

    name = "fake"
    transductive = False

    def __init__(self, seed: int = 0, hidden: int = 3, inner_lr: float = 0.01, noise: float = 0.0) -> None:
        with torch.random.fork_rng(devices=[]):  # A learner's making moves no generator of its caller's.
            torch.manual_seed(seed)
            self.net = torch.nn.Sequential(torch.nn.Linear(1, hidden), torch.nn.Tanh(), torch.nn.Linear(hidden, 1))
        self.params = {name: p.detach().clone() for name, p in self.net.named_parameters()}
        self.inner_lr, self.noise = inner_lr, noise

    def _loss(self, params: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        return (_net(params, x) - y).square().mean()

    def _adapt(self, params: dict[str, Tensor], x: Tensor, y: Tensor) -> dict[str, Tensor]:
        g = grad(self._loss)(params, x, y)
        return {name: p - self.inner_lr * g[name] for name, p in params.items()}

    def meta_gradient(self, batch: TaskBatch) -> Gradient:
        def objective(params: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
            one = lambda sx, sy, qx, qy: self._loss(self._adapt(params, sx, sy), qx, qy)
            losses = vmap(one)(*batch.tensors())
            return losses.mean(), losses

        grads, (loss, losses) = grad_and_value(objective, has_aux=True)(self.params)
        if self.noise:  # Draws from torch's global generator, as dropout would.
            grads = {name: g + self.noise * torch.randn_like(g) for name, g in grads.items()}
        return Gradient(loss, grads, losses)

    def curve(self, batch: TaskBatch, steps: int | None = None) -> Tensor:
        def one(sx: Tensor, sy: Tensor, qx: Tensor) -> Tensor:
            before = _net(self.params, qx)
            after = _net(self._adapt(self.params, sx, sy), qx)
            return torch.stack([before, after])

        return vmap(one, out_dims=1)(batch.support_x, batch.support_y, batch.query_x)

    def scope_rows(self) -> list[list[str]]:
        return [[name, str(list(p.shape)), "adapts", "meta-trained"] for name, p in self.params.items()]

    def describe(self) -> dict[str, object]:
        return {"learner": self.name, "inner_lr": self.inner_lr}


class FreeGradient:
    """A meta-gradient that costs nothing, to see what the loop costs."""

    name = "free"
    transductive = False

    def __init__(self, sizes: tuple[tuple[int, ...], ...] = ((40, 1), (40,), (40, 40), (40,), (1, 40), (1,))) -> None:
        self.params = {f"p{i}": torch.zeros(size) for i, size in enumerate(sizes)}
        self.out = Gradient(
            torch.tensor(1.0), {k: torch.full_like(p, 1e-3) for k, p in self.params.items()}, torch.ones(1)
        )

    def meta_gradient(self, batch: TaskBatch) -> Gradient:
        return self.out

    def curve(self, batch: TaskBatch, steps: int | None = None) -> Tensor:
        return torch.zeros(2, *batch.query_y.shape)

    def scope_rows(self) -> list[list[str]]:
        return [[name, str(list(p.shape)), "adapts", "meta-trained"] for name, p in self.params.items()]

    def describe(self) -> dict[str, object]:
        return {"learner": self.name}


@dataclass(frozen=True)
class Waves(Sinusoids):
    """Sinusoids that do something at one iteration, such as raising a signal."""

    at: int = -1
    act: object = None

    def batch(self, index: int, tasks: int) -> TaskBatch:
        if index == self.at and callable(self.act):
            self.act()
        return super().batch(index, tasks)
