"""``metaft export``."""

from __future__ import annotations

import click

from metaft.cli.folders import OutFolder


@click.command("export", epilog="Example:  metaft export runs/minilm --format peft --out minilm-lora")
@click.argument("run", type=click.Path(file_okay=False))
@click.option("--format", "form", default="peft", show_default=True, help="peft: the addition; hf: merged weights")
@click.option("--out", type=OutFolder(), required=True, help="new folder to write to")
@click.option("--weights", default="best", show_default=True, help="best (by validation) or last")
@click.option("--addition", metavar="NAME", help="for peft: which one, where the run has several")
def command(run: str, form: str, out: str, weights: str, addition: str | None) -> None:
    """Write what RUN has learned on a model of Hugging Face's as peft or transformers reads it.

    peft has LoRA, (IA)³, prompts before the text, and prefixes of causal models. The head of ours, if the run learned
    one, lies beside it, in head.safetensors. --addition peft:FOLDER starts from such a folder.
    """
    from metaft.additions.exchange import HEAD
    from metaft.commands.export import export_run

    files = export_run(run, out, form, weights, addition)
    click.echo("written: " + "\n         ".join(map(str, files)))
    if not any(file.name == HEAD for file in files):
        click.echo("no head: this learner keeps none; each task's answers come from its support set")
