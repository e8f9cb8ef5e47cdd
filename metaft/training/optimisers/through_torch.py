"""The optimisers of ``torch.optim`` as outer optimisers: ``sgd:lr=1,schedule=linear,momentum=0.9``."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from metaft.errors import MetaftError, first_line
from metaft.parts import arguments
from metaft.training.optimisers.optimiser import OuterOptimiser, State
from metaft.training.schedule import Schedule

HOW = ("params", "foreach", "fused", "maximize", "capturable", "differentiable")
"""Parameters of the classes that say how to compute, or what: not options."""


@dataclass(frozen=True, kw_only=True)
class ThroughTorch(OuterOptimiser):
    """An optimiser of torch's, told anew at each update what it keeps.

    Args:
        lr: the learning rate at the start.
        schedule: its course over the run.
        warmup: the fraction of the run in which the rate rises from 0.
        kind: the class.
        options: of the class, beside the rate.
    """

    kind: type[Optimizer]
    options: Mapping[str, Any] = field(default_factory=dict)

    def start(self, weight: Tensor) -> State:
        """Nothing: torch's class makes it at the first update."""
        return {}

    def like(self, weight: Tensor) -> State:
        """What an update leaves behind, tried on a copy."""
        copy, kept = weight.detach().clone(), State()
        self.step([copy], [torch.zeros_like(copy)], [kept], self.lr)
        return kept

    @torch.no_grad()
    def step(self, weights: Sequence[Tensor], grads: Sequence[Tensor], kept: Sequence[State], lr: float) -> None:
        """One update in place."""
        own = [weight.detach() for weight in weights]  # another tensor on the same memory: the gradient stays with it
        for weight, gradient in zip(own, grads, strict=True):
            weight.grad = gradient
        optimiser = self.kind(own, lr=lr, **self.options)  # type: ignore[call-arg]
        for weight, one in zip(own, kept, strict=True):
            if one:
                optimiser.state[weight] = dict(one)
        optimiser.step()
        for weight, one in zip(own, kept, strict=True):
            one.update({n: v for n, v in optimiser.state[weight].items() if isinstance(v, Tensor)})


class Builder:
    """Makes a `ThroughTorch` of one class; its signature has the class's options, and a schedule.

    Args:
        kind: the class.
    """

    def __init__(self, kind: type[Optimizer]) -> None:
        self.kind, own = kind, inspect.signature(kind, eval_str=True).parameters
        options = {n: p.replace(kind=p.KEYWORD_ONLY) for n, p in own.items() if n not in HOW}
        # Rates may be tensors there; here they are numbers.
        lr = inspect.Parameter("lr", inspect.Parameter.KEYWORD_ONLY, default=float(own["lr"].default), annotation=float)
        course = inspect.Parameter("schedule", lr.kind, default="constant", annotation=Schedule)
        rise = inspect.Parameter("warmup", lr.kind, default=0.0, annotation=float)
        beside = {"lr": lr, "schedule": course, "warmup": rise}
        self.__signature__ = inspect.Signature(list((options | beside).values()))
        told = arguments(kind) | {"lr": "the learning rate at the start", "schedule": "constant, cosine or linear"}
        told |= {"warmup": "the fraction of the run in which the rate rises from 0"}
        said = "".join(f"    {name}: {told.get(name, 'see torch.optim')}\n" for name in self.__signature__.parameters)
        self.__doc__ = f"{kind.__name__} as torch.optim has it.\n\nArgs:\n{said}"

    def __call__(
        self, lr: float | None = None, schedule: Any = "constant", warmup: float = 0.0, **options: Any
    ) -> ThroughTorch:
        """The optimiser; the class's own rate where none is given.

        Raises:
            MetaftError: if the class refuses its options.
        """
        lr = self.__signature__.parameters["lr"].default if lr is None else lr
        try:
            self.kind([torch.zeros(1, 1)], lr=lr, **options)  # type: ignore[call-arg]
        except (ValueError, TypeError) as error:
            raise MetaftError(f"outer optimiser {self.kind.__name__}: {first_line(error)}") from None
        return ThroughTorch(lr=lr, schedule=schedule, warmup=warmup, kind=self.kind, options=options)


def __getattr__(name: str) -> Builder:
    kind = getattr(torch.optim, name, None)
    if not (isinstance(kind, type) and issubclass(kind, Optimizer)):
        raise AttributeError(name)
    return Builder(kind)
