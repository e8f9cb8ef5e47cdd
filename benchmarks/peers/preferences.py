"""DPO beside trl's, which has an environment of its own.

``python -m benchmarks.peers.preferences --trl PYTHON``, PYTHON being the interpreter of an environment with
``trl==1.16.0`` and this torch. A small network drawn at random is the reference, the same network moved the policy;
both sides get the same pairs. What is printed is the difference of the mean loss, and that of all slopes beside their
length.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import click
import torch
from safetensors.torch import load_file, save_file

from benchmarks.peers import pip
from benchmarks.peers.additions import SHAPES
from metaft.models import build
from metaft.preferences.dpo import DPO
from metaft.preferences.families import PreferenceFamily
from metaft.preferences.learner import Tuning

FORMS: dict[str, tuple[DPO, dict[str, Any]]] = {
    "sigmoid": (DPO(beta=0.3), {"loss_type": ["sigmoid"]}),
    "ipo, by the word": (DPO(beta=0.3, form="ipo", normalised=True), {"loss_type": ["ipo"]}),
    "robust": (DPO(beta=0.3, form="robust", label_smoothing=0.2), {"loss_type": ["robust"], "label_smoothing": 0.2}),
}
"""Our objective, and what theirs is told."""


@click.command(help=__doc__)
@click.option("--trl", required=True, help="the interpreter of an environment with trl")
def main(trl: str) -> None:
    """As the module says."""
    click.echo("network | form | loss | its difference | relative difference of slopes")
    for kind in ("llama", "gpt2"):
        for form, (ours, theirs) in FORMS.items():
            loss, difference, slopes = compare(trl, kind, ours, theirs)
            click.echo(f"{kind} | {form} | {loss:.6f} | {difference:.1e} | {slopes:.1e}")


def compare(python: str, kind: str, ours: DPO, theirs: dict[str, Any]) -> tuple[float, float, float]:
    """One form in one network.

    Args:
        python: the interpreter of the peer's environment.
        kind: of the network.
        ours: our objective.
        theirs: their settings.

    Returns:
        Our loss, its difference from theirs, and the norm of the slopes' difference by that of ours.
    """
    from transformers import AutoConfig, AutoModelForCausalLM

    with tempfile.TemporaryDirectory() as folder:
        torch.manual_seed(0)
        network: Any = AutoModelForCausalLM.from_config(
            AutoConfig.for_model(kind, **SHAPES[kind], tie_word_embeddings=True)
        )
        network.save_pretrained(f"{folder}/reference")
        model = build(f"hf:{folder}/reference:dropout=0", outputs=1, seed=0).eval()
        names = [name for name, _ in model.named_parameters() if not name.startswith("head.")]
        learner = Tuning(model, names, ours)
        draw = torch.Generator().manual_seed(1)
        moved = {n: p + 0.1 * torch.randn(p.shape, generator=draw) for n, p in network.named_parameters()}
        network.load_state_dict(moved, strict=False)
        network.save_pretrained(f"{folder}/policy")
        inner = f"{network.base_model_prefix}."
        learner.params |= {f"model.{n.removeprefix(inner)}": p.detach() for n, p in network.named_parameters()}
        texts: list[tuple[list[int], list[int]]] = []
        for _ in range(6):
            prompt, *answers = (torch.randint(3, 50, (int(torch.randint(2, 8, (1,))),)).tolist() for _ in range(3))
            texts += [(prompt, answer) for answer in answers]
        batch = PreferenceFamily(texts, 16, "random", "train").of(range(6))
        save_file({"ids": batch.ids.contiguous(), "asked": batch.asked}, f"{folder}/pairs.safetensors")
        told = {"beta": ours.beta, "label_smoothing": 0.0, **theirs}
        Path(folder, "asked.json").write_text(json.dumps(told), encoding="utf-8")
        found = learner.meta_gradient(batch)
        command = [python, str(Path(__file__).with_name("with_trl.py")), folder]
        done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(pip.ROOT)})
        if done.returncode:
            raise click.ClickException(f"{kind}: {pip.last_line(done.stderr, command)}")
        answer = load_file(f"{folder}/answer.safetensors")
        gone, size = 0.0, 0.0
        for name, slope in answer.items():
            if name != "loss":
                own = found.grads[f"model.{name.removeprefix(inner)}"]
                gone, size = gone + float((own - slope).square().sum()), size + float(own.square().sum())
        return float(found.loss), abs(float(found.loss) - float(answer["loss"])), (gone / size) ** 0.5


if __name__ == "__main__":
    main()
