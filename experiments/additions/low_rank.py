"""Why low rank: what training all of MiniLM moved, and what Adam keeps for each choice of what is trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from experiments.additions.optimiser_memory import measured, of_adam, trained
from experiments.additions.plan import PLAN, option_pairs
from experiments.additions.spectrum import effective_rank, energy, moved_matrices
from experiments.jobs import metaft
from experiments.plans import state_of
from metaft import models
from metaft.assembly.backbone import load_backbone
from metaft.runs.directory import read_record

SCOPES = {"everything": "all", "attention": "attention", "biases (BitFit)": "biases", "norms": "norms"}


def fine_tuned(runs: Path) -> Path:
    """The run in which all of MiniLM was trained; trained now if it is not there."""
    run = runs / "fine-tuned"
    if state_of(run) != "finished":
        metaft("pretrain", *option_pairs(PLAN["fine_tuning"]), "--seed", "0", "--quiet", "--out", str(run),
               *(["--resume"] if (run / "run.json").exists() else []))  # fmt: skip
    return run


def spectra(run: Path) -> tuple[dict[str, list[Tensor]], dict[str, Any]]:
    """The singular values of ΔW of each layer, by kind of matrix; and numbers of every matrix.

    Args:
        run: of ``fine_tuned``.

    Returns:
        Kind → layer → values; and what is written down: for each matrix its effective rank, the share of ‖ΔW‖² at the
        plan's ranks, and ‖ΔW‖ / ‖W‖.
    """
    before = dict(pretrained().named_parameters())
    after = dict(load_backbone(run, "last").named_parameters())
    names = [n for n in before if n.startswith("model.encoder.layer.") and before[n].dim() == 2]
    found = moved_matrices({n: p.detach() for n, p in before.items()}, {n: p.detach() for n, p in after.items()}, names)
    ranks = PLAN["spectrum"]["ranks"]
    numbers = {
        name: {"effective_rank": effective_rank(values), "of": len(values), "relative": relative,
               "energy": dict(zip(map(str, ranks), energy(values, ranks), strict=True))}
        for name, (values, relative) in found.items()
    }  # fmt: skip
    kinds = {
        kind: [found[name][0] for name in names if name.endswith(f"{end}.weight") and "attention.output" not in name]
        for kind, end in PLAN["spectrum"]["kinds"].items()
    }
    record = read_record(run)
    said = {"command": record["command"], "seconds": record.get("seconds"), "iterations": record.get("iteration")}
    return kinds, {"matrices": numbers, "run": said}


def pretrained() -> torch.nn.Module:
    """MiniLM as it comes, with a head of five outputs."""
    return models.build("hf:minilm", outputs=5, input_shape=(1,), seed=0)


def memory() -> dict[str, dict[str, int]]:
    """Parameters, and bytes of Adam's state: by counting, and as torch holds them."""
    model = pretrained()
    rows = {label: trained(model, scope=scope) for label, scope in SCOPES.items()}
    rows |= {label: trained(model, addition=told) for label, told in PLAN["additions"].items()}
    found = {}
    for label, params in rows.items():
        count = sum(p.numel() for p in params.values())
        found[label] = {"parameters": count, "bytes": of_adam(count), "measured": measured(params.values())}
    return found
