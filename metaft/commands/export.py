"""Export a run on a model of Hugging Face's: its addition for peft, or its merged weights for transformers."""

from __future__ import annotations

from pathlib import Path

from metaft.additions.exchange import to_hugging_face, to_peft
from metaft.assembly.backbone import load_backbone
from metaft.data.texts import tokenizer
from metaft.errors import MetaftError, nearest
from metaft.files import folder_path
from metaft.learners.metric.episodic import NETWORK
from metaft.models.hugging_face import HuggingFace
from metaft.models.pretrained import STORIES, folder_of
from metaft.plugins import foreign
from metaft.runs import checkpoint
from metaft.runs.directory import RunDirectory
from metaft.runs.recorded import recorded_config
from metaft.zoo import run_path

FORMATS = {"peft": "the addition alone", "hf": "the whole model, additions merged"}
WEIGHTS = ("best", "last")


def export_run(
    run: str | Path, out: str | Path, form: str = "peft", weights: str = "best", addition: str | None = None
) -> list[Path]:
    """Write what a run has learned as other libraries read it; the head of ours, if it learned one, lies beside it.

    Args:
        run: the run directory, of a network on ``hf:…``.
        out: the folder; new, or empty.
        form: "peft" or "hf".
        weights: "best" by validation, or "last".
        addition: for peft, which one where there are several.

    Returns:
        The files.

    Raises:
        MetaftError: if there is no such run, its network is none of Hugging Face's, the folder is taken, or the run has
            learned something that the library has no place for.
    """
    for what, value, known in (("format", form, (*FORMATS,)), ("weights", weights, WEIGHTS)):
        if value not in known:
            raise MetaftError(f"unknown {what} {value!r}{nearest(value, known)}; known: {', '.join(known)}")
    folder = folder_path(out)
    if folder.exists() and any(folder.iterdir()):
        raise MetaftError(f"{out} is not empty; name a new folder by --out")
    run = run_path(run)
    config = recorded_config(run)
    model = str(getattr(config, "model", ""))
    asked = foreign(model)
    if asked is None or asked.name == STORIES:
        raise MetaftError(f"{run} is of the network {model or 'of a teacher'}; only those of hf:… can be exported")
    if form == "peft" and getattr(config, "frozen", None) == "nothing":
        raise MetaftError(f"{run} has frozen = nothing: its base has moved too, which peft has no place for; take hf")
    if form == "peft" and asked.options.get("weights") == "random":
        raise MetaftError(f"{run} stands on weights that were drawn, which peft cannot be told of; take format hf")
    base, network, head = folder_of(asked.name), load_backbone(run, weights), _has_head(run)
    if form == "peft":
        to_peft(network, folder, str(base.resolve()), addition, head)
    else:
        to_hugging_face(network, folder, tokenizer.of_model(asked.name).text, head)
    return sorted(folder.iterdir())


def _has_head(run: str | Path) -> bool:
    """Whether a run has trained a head; learners that compare, or begin one in each task, have none to keep."""
    stored = checkpoint.load_newest(RunDirectory(run).checkpoints).weights
    return any(name.removeprefix(NETWORK).startswith(f"{HuggingFace.head_layer}.") for name in stored)
