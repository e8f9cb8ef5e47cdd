"""Additions beside those of adapters and peft, which have environments of their own.

``python -m benchmarks.peers.additions --adapters PYTHON --peft PYTHON``, PYTHON being the interpreter of an environment
with ``adapters==1.3.0`` (which pins transformers 4.57), or with ``peft==0.21.2``. Small networks drawn at random get
the same additions from both sides, none of their numbers at its start, and read the same texts. What is printed is the
largest difference of last states, and how far the addition moved one.

A parallel adapter is compared in BERT alone: in networks whose norms stand before their parts, adapters reads the
residual stream before the norm, and metaft behind it, where feed-forward reads (He et al. 2022, table 1).
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import click
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from benchmarks.peers import pip
from metaft.additions import attach
from metaft.additions.attach import placed
from metaft.models import build

SHAPE = {
    "vocab_size": 50, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 3, "num_attention_heads": 4,
    "max_position_embeddings": 64, "pad_token_id": 0,
}  # fmt: skip
SHAPES: dict[str, dict[str, Any]] = {
    "bert": SHAPE,
    "llama": {**SHAPE, "num_key_value_heads": 2},
    "gpt2": {"vocab_size": 50, "n_embd": 64, "n_layer": 3, "n_head": 4, "n_positions": 64, "pad_token_id": 0},
}
ADAPTERS: dict[str, tuple[str, dict[str, Any]]] = {
    "adapter:place=houlsby,activation=silu": ("DoubleSeqBnConfig", {"reduction_factor": 16}),
    "adapter:place=pfeiffer,activation=relu": ("SeqBnConfig", {"original_ln_before": False}),
    "adapter:place=parallel,activation=relu,reduction=2,scale=4": ("ParBnConfig", {}),
    "compacter:reduction=8": ("CompacterConfig", {"reduction_factor": 8}),
    "compacter:place=pfeiffer,reduction=8": (
        "CompacterPlusPlusConfig",
        {"reduction_factor": 8, "original_ln_before": False},
    ),
}
"""Our addition → their configuration, and what of it is said otherwise: a stream that is normed after the sum."""
PREFIXES = ("prefix:length=5", "prefix:length=5,reparametrise=12")


@click.command(help=__doc__)
@click.option("--adapters", help="the interpreter of an environment with adapters")
@click.option("--peft", help="the interpreter of an environment with peft")
def main(adapters: str | None, peft: str | None) -> None:
    """As the module says."""
    rows = [
        (adapters, "with_adapters", kind, how, theirs)
        for how, theirs in ADAPTERS.items()
        for kind in (("bert",) if "parallel" in how else SHAPES)
    ]
    rows += [
        (peft, "with_peft", kind, how, ("PrefixTuningConfig", {})) for how in PREFIXES for kind in ("gpt2", "llama")
    ]
    click.echo("addition | network | largest difference | largest move")
    for python, script, kind, how, theirs in rows:
        if python is not None:
            difference, move = compare(python, script, kind, how, theirs)
            click.echo(f"{how} | {kind} | {difference:.1e} | {move:.1f}")


def compare(python: str, script: str, kind: str, how: str, theirs: tuple[str, dict[str, Any]]) -> tuple[float, float]:
    """One addition in one network.

    Args:
        python: the interpreter of the peer's environment.
        script: what runs there.
        kind: of the network.
        how: our addition.
        theirs: their configuration.

    Returns:
        The largest difference of a number in a state, and the most by which the addition moved one.
    """
    from transformers import AutoConfig

    with tempfile.TemporaryDirectory() as folder:
        AutoConfig.for_model(kind, **SHAPES[kind]).save_pretrained(folder)
        network = build(f"hf:{folder}:weights=random", outputs=3, seed=0).eval()
        network.model.save_pretrained(folder)
        added, draw = attach(network, how, seed=1), torch.Generator().manual_seed(2)
        sites = [part.own() for part in placed(added, how.partition(":")[0]).values()]
        with torch.no_grad():
            for own in (own for site in sites for own in site.values()):
                own += 0.3 * torch.randn(own.shape, generator=draw)
        ids = torch.randint(1, 50, (4, 12), generator=draw)
        ids[0, 7:] = ids[1, 3:] = 0
        found = {
            f"{number}.{n}": p.detach().clone().contiguous()
            for number, own in enumerate(own for own in sites if own)
            for n, p in own.items()
        }
        save_file({**found, "ids": ids}, f"{folder}/given.safetensors")
        Path(folder, "theirs.json").write_text(json.dumps(theirs), encoding="utf-8")
        command = [python, str(Path(__file__).with_name(f"{script}.py")), folder]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise click.ClickException(f"{how} in {kind}: {pip.last_line(done.stderr, command)}")
        answer = load_file(f"{folder}/answer.safetensors")["states"]
        largest = lambda x: float((x * (ids != 0)[..., None]).abs().max())
        return largest(states(added, ids) - answer), largest(states(network, ids) - answer)


def states(network: nn.Module, ids: Tensor) -> Tensor:
    """The last states of our network."""
    with torch.no_grad():
        return network.states(ids)[-1]  # type: ignore[operator]


if __name__ == "__main__":
    main()
