"""A case: one layer or function of torch between learnable layers, with tasks that fit it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn
from torch.func import functional_call

from metaft import TaskBatch

DOUBLE = torch.float64
TASKS, SUPPORT, QUERY = 4, 5, 6
RATE, STEPS = 0.05, 3
Draw = Callable[[int, Generator], Tensor]
Call = Callable[..., Any]


def normal(*shape: int) -> Draw:
    """Examples of independent normal numbers, of this shape each."""
    return lambda examples, g: torch.randn(examples, *shape, generator=g, dtype=DOUBLE)


THREE, TWO = normal(3), normal(2)


def uniform(*shape: int) -> Draw:
    """Numbers between 0 and 1."""
    return lambda examples, g: torch.rand(examples, *shape, generator=g, dtype=DOUBLE)


def integers(low: int, high: int, *shape: int) -> Draw:
    """Whole numbers from ``low`` up to, without, ``high``: tokens, or labels where the shape is empty."""
    return lambda examples, g: torch.randint(low, high, (examples, *shape), generator=g)


def signs(*shape: int) -> Draw:
    """Numbers that are 1 or −1."""
    return lambda examples, g: torch.randint(0, 2, (examples, *shape), generator=g).to(DOUBLE) * 2 - 1


def squared(call: Call, x: Tensor, y: Tensor) -> Tensor:
    """Mean squared error of the network's answers."""
    return F.mse_loss(call(x), y)


@dataclass(frozen=True)
class Case:
    """A network and what its tasks are made of.

    Args:
        of: the class of ``torch.nn`` it holds (``LayerNorm``), or the function (``F.layer_norm``, ``torch.einsum``).
        make: the network, called under a seed; it is then set to float64 and its parameters are shaken.
        variant: what sets this case apart from others of the same class.
        x, y: one task's inputs and targets, of so many examples.
        loss: ``loss(call, x, y) → scalar``; ``call(x)`` is the network's answer.
        kind: what a learner takes these tasks for; None where its own two losses do not fit them.
        random: whether the forward pass draws random numbers: in training, or always.
        stateful: whether the forward pass in training depends on buffers that it changes. A caller's own loss then has
            to hand the buffers in.
        held: whether the forward pass holds fixed what depends on the parameters, such as spectral norm's vectors. Its
            gradient then is not the slope of what it computes, and no difference of gradients is its second derivative.
    """

    of: str
    make: Callable[[], nn.Module]
    variant: str = ""
    x: Draw = THREE
    y: Draw = TWO
    loss: Callable[[Call, Tensor, Tensor], Tensor] = squared
    kind: Literal["regression", "classification"] | None = "regression"
    random: Literal["", "training", "always"] = ""
    stateful: bool = False
    held: bool = False

    def __str__(self) -> str:
        return f"{self.of}: {self.variant}" if self.variant else self.of

    def module(self, seed: int = 0) -> nn.Module:
        """The network in float64 and training mode, with no parameter at a special value such as 0 or 1."""
        with torch.random.fork_rng(devices=[]), doubles():
            torch.manual_seed(seed)
            module = self.make().to(DOUBLE).train()
            with torch.no_grad():
                for parameter in module.parameters():
                    parameter.add_(0.1 * torch.randn_like(parameter))
        return module

    def batch(self, seed: int = 0, tasks: int = TASKS) -> TaskBatch:
        """Tasks, whose support and query sets differ in size, each with random numbers of its own."""
        g = Generator().manual_seed(seed)
        stack = lambda draw, examples: torch.stack([draw(examples, g) for _ in range(tasks)])
        sets = stack(self.x, SUPPORT), stack(self.y, SUPPORT), stack(self.x, QUERY), stack(self.y, QUERY)
        return TaskBatch(*sets).with_keys(seed)

    def plain_loss(self, module: nn.Module, own_buffers: bool = False) -> Callable[[dict, Tensor, Tensor], Tensor]:
        """``loss(params, x, y)`` as a user writes it, with ``torch.func.functional_call``.

        Args:
            module: the network.
            own_buffers: hand a copy of the buffers in, so that nothing that one call changes is seen by the next.
        """

        def loss(params: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
            held = params
            if own_buffers or self.stateful:
                held = {n: b.clone() for n, b in module.named_buffers()} | params
            return self.loss(lambda *inputs: functional_call(module, held, inputs), x, y)

        return loss


@contextmanager
def doubles() -> Iterator[None]:
    """Numbers are float64 where nothing else is said."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(DOUBLE)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def first(out: Any) -> Tensor:
    """The first of what a layer answers, where it answers with several things."""
    return out[0] if isinstance(out, tuple) else out


class Between(nn.Module):
    """A learnable layer, the layer of interest, and another learnable one: ``[examples, 3] → [examples, 2]``.

    Args:
        layer: what is tried.
        *feeds: the shape of one example as the layer gets it; the layer sees ``[examples, *feeds]``.
        call: how the layer is called, ``call(layer, fed)``; plainly, by default.
        batch_axis: where the layer has its examples.
        scale: what the fed numbers are multiplied with.
    """

    def __init__(
        self,
        layer: nn.Module,
        *feeds: int,
        call: Callable[[nn.Module, Tensor], Any] = lambda layer, fed: layer(fed),
        batch_axis: int = 0,
        scale: float = 1.0,
    ) -> None:
        super().__init__()
        self.feeds, self.call, self.batch_axis, self.scale = feeds, call, batch_axis, scale
        self.before, self.layer = nn.Linear(3, math.prod(feeds)), layer
        training = layer.training
        layer.eval()  # the trial changes nothing that the layer gathers
        with torch.no_grad():
            features = self._flat(torch.randn(5, 3)).shape[1]
        layer.train(training)
        self.after = nn.Linear(features, 2)

    def _flat(self, x: Tensor) -> Tensor:
        fed = self.scale * self.before(x).view(-1, *self.feeds).movedim(0, self.batch_axis)
        return first(self.call(self.layer, fed)).movedim(self.batch_axis, 0).flatten(1)

    def forward(self, x: Tensor) -> Tensor:
        return self.after(self._flat(x))


class Holds(nn.Module):
    """A function as a layer, with parameters of these shapes that it is handed by name."""

    def __init__(self, function: Callable[..., Any], **shapes: tuple[int, ...]) -> None:
        super().__init__()
        self.function, self.names = function, tuple(shapes)
        for name, shape in shapes.items():
            self.register_parameter(name, nn.Parameter(0.5 * torch.randn(shape)))

    def forward(self, fed: Tensor) -> Any:
        return self.function(fed, **{name: getattr(self, name) for name in self.names})


def layer(build: Callable[[], nn.Module], *feeds: int, variant: str = "", **options: Any) -> Case:
    """The case of a layer that takes ``[examples, *feeds]``; its class is found by building it."""
    own = {n: options.pop(n) for n in ("call", "batch_axis", "scale") if n in options}
    of = options.pop("of", None) or getattr(build, "__name__", "")
    return Case(of, lambda: Between(build(), *feeds, **own), variant, **options)


def layers(of: str, *feeds: int, **options: Any) -> Callable[..., Case]:
    """Cases of one class of ``torch.nn``: what is returned takes that class's arguments, and a name for the variant."""
    return lambda variant, *args, **named: layer(
        lambda: getattr(nn, of)(*args, **named), *feeds, of=of, variant=variant, **options
    )


def function(of: str, call: Callable[..., Any], *feeds: int, variant: str = "", **parameters: Any) -> Case:
    """The case of a function called as ``call(fed [examples, *feeds], **parameters)``."""
    own = {n: parameters.pop(n) for n in ("random", "held", "batch_axis", "scale") if n in parameters}
    said = {n: own.pop(n) for n in ("random", "held") if n in own}
    return Case(of, lambda: Between(Holds(call, **parameters), *feeds, **own), variant, **said)
