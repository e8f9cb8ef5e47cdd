"""How good is a finite-difference Hessian-vector product, and does the adjoint explode or vanish with K?

Command: python -m experiments.estimators   (makes results/estimators.{json,md} and two pictures)
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from rich.console import Console
from torch import Tensor, nn

import metaft
from experiments.pages import finite, render, results_option
from metaft.evaluation.plots import save
from metaft.evaluation.report import write_result
from metaft.evaluation.style import blank
from metaft.files import write_atomically
from metaft.inner.adapt import Inner
from metaft.inner.rules import SGD, Params
from metaft.models import Functional
from metaft.outer.exact import Exact
from metaft.outer.finite_difference import FiniteDifference, default_step
from metaft.outer.first_order import FirstOrder
from metaft.outer.problem import Problem
from metaft.tasks.batch import TaskBatch

DELTAS = [10.0**e for e in range(-10, 0)]
ACTIVATIONS: dict[str, type[nn.Module]] = {"softplus": nn.Softplus, "ReLU": nn.ReLU}
RATES = (0.001, 0.01, 0.03, 0.1)
STEPS = 64


@click.command()
@click.option("--seeds", default=3, show_default=True, help="how many seeds")
@results_option
def main(seeds: int, results: Path) -> None:
    """Measure both on the sinusoid network (1-40-40-1, torch's own initial weights), 25 tasks."""
    torch.set_num_threads(1)
    kinds = {f"{name}, {str(dtype)[6:]}": (make, dtype) for name, make in ACTIVATIONS.items()
             for dtype in (torch.float32, torch.float64)}  # fmt: skip
    every = range(seeds)
    errors = {name: [[error(*kind, delta, seed) for delta in DELTAS] for seed in every] for name, kind in kinds.items()}
    chosen = {name: [error(*kind, default_step(kind[1]), seed) for seed in every] for name, kind in kinds.items()}
    norms = {str(lr): [adjoint(lr, seed) for seed in every] for lr in RATES}
    figure = curves(DELTAS, errors, "step δ, relative to the length of θ", "error of the Hessian's part, relative",
                    marker="o", markersize=3)  # fmt: skip
    figure.axes[0].set_xscale("log")
    save(figure, results / "finite_difference.png")
    drawn = {f"α = {rate}": by_seed for rate, by_seed in norms.items()}
    figure = curves(
        range(STEPS + 1), drawn, "inner steps carried back, K − k", "‖v_k‖ / ‖v_K‖, geometric mean over tasks"
    )
    save(figure, results / "adjoint_norms.png")
    measured: dict[str, dict[str, Any]] = {
        "finite difference, relative error": {"delta": DELTAS, "by seed": errors, "at the default step": chosen},
        "adjoint norm, step K first": {"steps": STEPS, "by rate and seed": norms},
    }
    write_result(results / "estimators.json", measured, "python -m experiments.estimators", list(every))
    write_atomically(results / "estimators.md", page(measured, seeds).encode())
    Console().print(f"written: {results}/estimators.md, .json, finite_difference.png, adjoint_norms.png")


def problem(make: type[nn.Module], dtype: torch.dtype, seed: int) -> tuple[Functional, TaskBatch]:
    """The network and 25 sinusoid tasks."""
    torch.manual_seed(seed)
    layers = (nn.Linear(1, 40), make(), nn.Linear(40, 40), make(), nn.Linear(40, 1))
    batch = metaft.families.sinusoid(seed=seed).batch(0, 25)
    return Functional(nn.Sequential(*layers).to(dtype)), TaskBatch(*(t.to(dtype) for t in batch.tensors()))


def error(make: type[nn.Module], dtype: torch.dtype, delta: float, seed: int) -> float:
    """‖ours − exact‖ / ‖exact Hessian part‖ of the meta-gradient after one step; the exact one in float64."""
    model, batch = problem(make, torch.float64, seed)
    params = model.params()
    truth = estimate(model, Exact(), params, batch)
    plain = estimate(model, FirstOrder(), params, batch)
    low = {n: p.to(dtype) for n, p in params.items()}
    data = TaskBatch(*(t.to(dtype) for t in batch.tensors()))
    ours = estimate(model, FiniteDifference(step=delta), low, data)
    off = sum(((ours[n].double() - truth[n]).square().sum() for n in truth), torch.tensor(0.0))
    size = sum(((plain[n] - truth[n]).square().sum() for n in truth), torch.tensor(0.0))
    return float((off / size).sqrt())


def estimate(model: Functional, estimator: Any, params: Params, batch: TaskBatch) -> Params:
    """The meta-gradient of one SGD step of rate 0.01."""

    def loss(p: Params, x: Tensor, y: Tensor) -> Tensor:
        return F.mse_loss(model(p, x), y)

    inner = Inner(loss, SGD(0.01), 1)
    on_query = lambda p, sx, sy, qx, qy: loss(p, qx, qy)
    return estimator(Problem(inner, on_query, params, tuple(params), batch)).grads


def adjoint(lr: float, seed: int) -> list[float | None]:
    """‖v_k‖ for k = K … 0, the mean over tasks, as a share of ‖v_K‖; None where the inner loop diverged."""
    model, batch = problem(nn.ReLU, torch.float64, seed)
    loss = lambda p, x, y: F.mse_loss(model(p, x), y)
    out = metaft.meta_gradient(loss, model.params(), batch, rule=SGD(lr), steps=STEPS, diagnose=True)
    share = (out.adjoint_norms / out.adjoint_norms[-1]).log().mean(-1).exp()
    return [finite(value) for value in share.flip(0).tolist()]


def curves(
    places: Sequence[float], lines: Mapping[str, Sequence[Sequence[float | None]]], x: str, y: str, **look: Any
) -> Figure:
    """Medians over seeds, a line each, on logarithmic axes."""
    figure = blank(6.4, 4.0)
    axes = figure.subplots()
    for name, by_seed in lines.items():
        axes.semilogy(places, middle(by_seed), label=name, **look)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.legend()
    return figure


def middle(by_seed: Sequence[Sequence[float | None]]) -> list[float]:
    """The median over seeds, place by place; what diverged is above all."""
    places = zip(*by_seed, strict=True)
    return [sorted(math.inf if value is None else value for value in place)[len(by_seed) // 2] for place in places]


def page(measured: Mapping[str, Mapping[str, Any]], seeds: int) -> str:
    """results/estimators.md, from the numbers of estimators.json."""
    differences, adjoints = measured["finite difference, relative error"], measured["adjoint norm, step K first"]
    return render(
        "experiments/estimators.md.j2", seeds=seeds, deltas=differences["delta"],
        errors={name: list(zip(*by_seed, strict=True)) for name, by_seed in differences["by seed"].items()},
        chosen=differences["at the default step"], steps=adjoints["steps"], norms=adjoints["by rate and seed"],
    )  # fmt: skip


if __name__ == "__main__":
    main()
