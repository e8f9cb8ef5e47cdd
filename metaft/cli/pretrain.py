"""``metaft pretrain``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from metaft.cli.options import training_command
from metaft.settings.pretrain import PretrainConfig

if TYPE_CHECKING:
    from metaft.commands.opening import Opening


@training_command(PretrainConfig, "metaft pretrain --dataset omniglot --minutes 8 --out runs/pre-0")
def command(run: Opening[PretrainConfig]) -> None:
    """Train a classifier of all training classes: the start of feature extraction and of fine-tuning.

    Writes a run directory as meta-train does. Every so often class means of its features are scored on few-shot
    tasks of the validation classes, and the best weights are kept. Ctrl-C stops with a checkpoint, --resume goes on.
    """
    from metaft.cli.summary import preparing, show_pretrained
    from metaft.commands.pretrain import build_pretraining, pretrain

    with preparing(run):
        parts = build_pretraining(run.config)
    result = pretrain(parts=parts, **run.how)
    if run.progress:
        show_pretrained(result, run.config, parts.train.outputs)
