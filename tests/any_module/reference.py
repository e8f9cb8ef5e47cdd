"""The meta-gradient as its users write it: task by task, plain autograd, a stored graph. It knows nothing of metaft."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from tests.any_module.written import WrittenOut

Params = dict[str, Tensor]
Loss = Callable[[Params, Tensor, Tensor], Tensor]


def meta_gradient(
    loss: Loss, params: Params, tasks: Sequence[tuple[Tensor, ...]], rate: float, steps: int, second: bool = True
) -> tuple[Tensor, Params]:
    """The mean query loss after SGD steps, and its gradient.

    Args:
        loss: ``loss(params, x, y) → scalar``.
        params: the start.
        tasks: of each task ``support_x, support_y, query_x, query_y``.
        rate: of SGD.
        steps: how many.
        second: differentiate through the inner gradients; otherwise they count as constants (first-order).
    """
    start = {name: p.detach().clone().requires_grad_() for name, p in params.items()}
    losses = []
    # Neither the fused attentions nor the functions of `written` have a right second derivative.
    with sdpa_kernel(SDPBackend.MATH), WrittenOut():
        for support_x, support_y, query_x, query_y in tasks:
            fast = start
            for _ in range(steps):
                value = loss(fast, support_x, support_y)
                grads = torch.autograd.grad(value, list(fast.values()), create_graph=second, allow_unused=True)
                fast = {
                    name: p if g is None else p - rate * (g if second else g.detach())
                    for (name, p), g in zip(fast.items(), grads, strict=True)
                }
            losses.append(loss(fast, query_x, query_y))
        mean = torch.stack(losses).mean()
        grads = torch.autograd.grad(mean, list(start.values()), allow_unused=True)
    return mean.detach(), {
        name: torch.zeros_like(p) if g is None else g for (name, p), g in zip(start.items(), grads, strict=True)
    }


def difference(ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> float:
    """‖ours − theirs‖ / ‖theirs‖ over the whole gradient; infinite if one is not finite."""
    off = sum(float((ours[n].to_dense() - theirs[n].to_dense()).square().sum()) for n in theirs)
    size = sum(float(theirs[n].to_dense().square().sum()) for n in theirs)
    error = (off / size) ** 0.5 if size > 0 else off**0.5
    return error if error == error else float("inf")
