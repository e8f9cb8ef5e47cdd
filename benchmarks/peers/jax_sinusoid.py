"""The sinusoid's meta-gradient and whole training loop in JAX: one ``jit``, the loop a ``lax.scan``."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from benchmarks.speed.problem import Compute, Problem
from metaft.tasks.sinusoid import AMPLITUDE, DOMAIN, PHASE


def meta_loss(lr: float, steps: int) -> Callable[..., Any]:
    """The mean query loss after K steps as a JAX function of (weights, support_x, support_y, query_x, query_y)."""
    import jax
    import jax.numpy as jnp

    def loss(params: Any, x: Any, y: Any) -> Any:
        for weight, bias in params[:-1]:
            x = jnp.maximum(x @ weight.T + bias, 0)
        weight, bias = params[-1]
        return jnp.mean((x @ weight.T + bias - y) ** 2)

    def adapted_loss(params: Any, support_x: Any, support_y: Any, query_x: Any, query_y: Any) -> Any:
        for _ in range(steps):
            grads = jax.grad(loss)(params, support_x, support_y)
            params = jax.tree.map(lambda p, g: p - lr * g, params, grads)
        return loss(params, query_x, query_y)

    return lambda params, *batch: jnp.mean(jax.vmap(adapted_loss, in_axes=(None, 0, 0, 0, 0))(params, *batch))


def jitted(problem: Problem) -> Compute:
    """One meta-gradient under ``jax.jit``, in the problem's precision."""
    import jax

    names = [name for name, _ in problem.network.named_parameters()]
    wide = problem.batch.query_x.dtype == torch.float64
    with jax.enable_x64(wide):
        params, batch = start(problem), [jax.numpy.asarray(t.numpy()) for t in problem.batch.tensors()]
        gradient = jax.jit(jax.grad(meta_loss(problem.lr, problem.steps)))

    def compute() -> dict[str, torch.Tensor]:
        with jax.enable_x64(wide):
            grads = jax.block_until_ready(gradient(params, *batch))
        flat = [np.asarray(g) for layer in grads for g in layer]
        return {name: torch.from_numpy(g.copy()) for name, g in zip(names, flat, strict=True)}

    return compute


def start(problem: Problem) -> Any:
    """The network's weights as a list of (weight, bias)."""
    import jax.numpy as jnp

    flat = [jnp.asarray(p.detach().numpy()) for p in problem.network.parameters()]
    return list(zip(flat[::2], flat[1::2], strict=True))


def scanned(problem: Problem, iterations: int, outer_lr: float = 1e-3) -> Callable[[], float]:
    """Whole training: sampling, meta-gradient and Adam, ``iterations`` times inside one compiled scan.

    Args:
        problem: gives weights, inner rate, K and the shape of a batch.
        iterations: length of the scan.
        outer_lr: of Adam.

    Returns:
        A call that trains on from where the last one stopped, and gives the last loss.
    """
    import jax
    import jax.numpy as jnp

    gradient = jax.value_and_grad(meta_loss(problem.lr, problem.steps))
    tasks, shots = problem.batch.support_x.shape[:2]
    points = shots + problem.batch.query_x.shape[1]

    def sample(key: Any) -> tuple[Any, ...]:
        draw = jax.random.uniform(key, (tasks, points + 2))
        amplitude = AMPLITUDE[0] + (AMPLITUDE[1] - AMPLITUDE[0]) * draw[:, :1]
        phase = PHASE[0] + (PHASE[1] - PHASE[0]) * draw[:, 1:2]
        x = DOMAIN[0] + (DOMAIN[1] - DOMAIN[0]) * draw[:, 2:]
        y = amplitude * jnp.sin(x - phase)
        return x[:, :shots, None], y[:, :shots, None], x[:, shots:, None], y[:, shots:, None]

    def iteration(carry: Any, key: Any) -> Any:
        params, first, second, count = carry
        value, grads = gradient(params, *sample(key))
        count = count + 1
        first = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, first, grads)
        second = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, second, grads)
        rate = outer_lr * jnp.sqrt(1 - 0.999**count) / (1 - 0.9**count)
        params = jax.tree.map(lambda p, m, v: p - rate * m / (jnp.sqrt(v) + 1e-8), params, first, second)
        return (params, first, second, count), value

    run = jax.jit(lambda carry, key: jax.lax.scan(iteration, carry, jax.random.split(key, iterations)))
    zero = jax.tree.map(jnp.zeros_like, start(problem))
    carry = (start(problem), zero, zero, jnp.zeros(()))
    seeds = itertools.count()

    def train() -> float:
        nonlocal carry
        carry, losses = run(carry, jax.random.key(next(seeds)))
        return float(losses[-1])

    return train
