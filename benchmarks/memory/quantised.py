"""The memory of a quantised base beside that of the same model in float32, each in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import click
import torch

from benchmarks.memory.page import MALLOC
from benchmarks.memory.probe import forget_peak, peak, resident
from benchmarks.peers.pip import ROOT, last_line
from experiments.pages import render
from metaft.additions import attach, freeze_base
from metaft.evaluation.report import write_result
from metaft.files import write_atomically
from metaft.models import build
from metaft.models.hugging_face_files import library

PAIRS = {"hf:smollm2": "hf:smollm2:base=quantised", "hf:minilm": "hf:minilm:base=nf4"}
"""A model in float32, and quantised."""
TARGET = 0.35
TEXTS, WORDS = 8, 32
Probe = dict[str, Any]


def measure(say: Callable[[str], None] = print) -> dict[str, Probe]:
    """Measure every model, each in a fresh process.

    Args:
        say: told how far it is.

    Returns:
        Model → MiB and answers; ``error`` says why there is none.
    """
    found: dict[str, Probe] = {}
    for model in (name for pair in PAIRS.items() for name in pair):
        command = [sys.executable, "-m", "benchmarks.memory.quantised", model]
        done = subprocess.run(command, cwd=ROOT, env={**os.environ, **MALLOC}, capture_output=True, text=True)
        failed = {"error": last_line(done.stderr, command)}
        found[model] = failed if done.returncode else json.loads(done.stdout.splitlines()[-1])
        say(
            f"  {model}: " + (found[model].get("error") or ", ".join(f"{n} {v:.0f} MiB" for n, v in _mib(found[model])))
        )
    return found


def _mib(probe: Probe) -> list[tuple[str, float]]:
    return [(name, value) for name, value in probe.items() if name != "answers"]


def write(probes: Mapping[str, Probe], results: Path, command: str) -> None:
    """Write ``quantised.json`` and ``quantised.md``.

    Args:
        probes: what was measured.
        results: the folder.
        command: to record.
    """
    write_result(results / "quantised.json", dict(probes), command, [0], {"target": TARGET})
    write_atomically(results / "quantised.md", page(probes).encode())


def page(probes: Mapping[str, Probe]) -> str:
    """The page in Markdown.

    Args:
        probes: what was measured.

    Returns:
        The page.
    """
    rows, errors = [], [(model, probe["error"]) for model, probe in probes.items() if "error" in probe]
    for whole, quantised in PAIRS.items():
        if any("error" in probes[model] for model in (whole, quantised)):
            continue
        pair = {model: dict(_mib(probes[model])) for model in (whole, quantised)}
        rows += [[model, *(f"{value:,.0f}" for value in mib.values()), "–"] for model, mib in pair.items()]
        ratios = [pair[quantised][name] / pair[whole][name] for name in pair[whole]]
        away = torch.tensor(probes[quantised]["answers"]) - torch.tensor(probes[whole]["answers"])
        rows.append(["ratio", *(f"{ratio:.2f}" for ratio in ratios), f"{away.abs().max():.2g}"])
    text = render(
        "benchmarks/memory/quantised.md.j2", rows=rows, errors=errors, target=TARGET, texts=TEXTS, words=WORDS
    )
    return text.rstrip() + "\n"


@click.command()
@click.argument("model")
def main(model: str) -> None:
    """Print MiB above what was resident after imports, and answers, as JSON."""
    torch.set_num_threads(1)
    library()
    for module in ("gguf", "transformers.modeling_gguf_pytorch_utils"):  # what is imported on first use
        import_module(module)

    forget_peak()
    before = resident()
    network = build(model, outputs=5, seed=0).eval()
    ids = torch.randint(1, 1000, (TEXTS, WORDS), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        answers = network(ids)
    high = peak()
    forget_peak()
    found: Probe = {"loaded": resident() - before, "peak of loading and answering": high - before}
    freeze_base(attach(network, "lora:rank=4"))(ids).square().sum().backward()
    found["peak of a gradient"] = peak() - before
    print(json.dumps({**found, "answers": answers.tolist()}))


if __name__ == "__main__":
    main()
