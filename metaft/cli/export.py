"""``metaft export``."""

from __future__ import annotations

from typing import Any

import click
from click.core import ParameterSource

from metaft.cli.folders import OutFolder
from metaft.errors import MetaftError, nearest

FOLDERS, GRAPHS = ("peft", "hf"), ("onnx", "torch-export")
OF_FOLDERS = ("weights", "addition")
"""Options of the formats that hold a network and no learner; all others are of the graphs."""


@click.command("export", epilog="Example:  metaft export runs/om --format onnx --support examples --out classifier")
@click.argument("run", metavar="LEARNER")
@click.option("--format", "form", default="peft", show_default=True, help="peft, hf, onnx or torch-export")
@click.option("--out", type=OutFolder(), required=True, help="new folder to write to")
@click.option("--weights", default="best", show_default=True, help="for peft and hf: best (by validation) or last")
@click.option("--addition", metavar="NAME", help="for peft: which one, where the run has several")
@click.option("--support", type=click.Path(), metavar="PATH", help="for graphs: a folder of class folders, or a table")
@click.option("--ways", type=int, metavar="COUNT", help="of a graph that takes the support set too [the run's own]")
@click.option("--text", default="text", show_default=True, metavar="COLUMN", help="tables: of the texts")
@click.option("--label", default="label", show_default=True, metavar="COLUMN", help="tables: of the classes")
@click.option("--target", metavar="COLUMN,…", help="tables: of values to predict [classes; a run on a table: its own]")
@click.option("--features", metavar="COLUMN,…", help="tables: to predict from [all others; a run on a table: its own]")
@click.option("--encoding", help="of text files, such as latin-1 [default: UTF-8]")
@click.option("--image-size", type=int, metavar="PIXELS", help="to scale images to [a run's own; else 84]")
@click.option("--colours", type=click.Choice(["grey", "rgb"]), help="of images [a run's own; else rgb]")
def command(run: str, form: str, out: str, weights: str, addition: str | None, **options: Any) -> None:
    """Write what was learned as other programs read it.

    peft, hf: what a run on a model of Hugging Face's has learned. peft: the addition (LoRA, (IA)³, prompts before the
    text, prefixes of causal models); hf: the whole model, additions merged. A head of ours, if the run learned one,
    lies beside it, in head.safetensors. --addition peft:FOLDER starts from such a folder.

    onnx, torch-export: a learner as a graph of tensors, from queries to answers. With --support, as for metaft predict,
    it is adapted to that support set. Without, the graph takes support set, labels and queries; only learners that are
    fitted by a formula can (protonet, class-means, feature-extraction:head=ridge). How examples are read stands in
    predictor.json beside it, a tokenizer in tokenizer.json.
    """
    if form not in (*FOLDERS, *GRAPHS):
        raise MetaftError(f"unknown format {form!r}{nearest(form, (*FOLDERS, *GRAPHS))}")
    _require_own(form)
    if form in GRAPHS:
        from metaft.commands.export_predictor import export_predictor

        files = export_predictor(run, out, form, **options)
    else:
        from metaft.commands.export import export_run

        files = export_run(run, out, form, weights, addition)
    click.echo("written: " + "\n         ".join(map(str, files)))
    if form in GRAPHS:
        return
    from metaft.additions.exchange import HEAD

    if not any(file.name == HEAD for file in files):
        click.echo("no head: this learner keeps none; each task's answers come from its support set")


def _require_own(form: str) -> None:
    """Refuse an option that the format has no use for."""
    context = click.get_current_context()
    for name in context.params:
        given = context.get_parameter_source(name) is not ParameterSource.DEFAULT
        if not given or name in ("run", "form", "out") or (name in OF_FOLDERS) == (form in FOLDERS):
            continue
        flag = f"--{name.replace('_', '-')}"
        if name == "weights":
            raise MetaftError(f"--weights: with format {form} say it with the run, RUN:weights=last")
        raise MetaftError(f"{flag} is of format {' and '.join(FOLDERS if name in OF_FOLDERS else GRAPHS)}, not {form}")
