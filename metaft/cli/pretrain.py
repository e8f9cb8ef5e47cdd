"""``metaft pretrain``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from metaft.cli.options import training_command
from metaft.settings.pretrain import PretrainConfig

if TYPE_CHECKING:
    from metaft.commands.opening import Opening


@training_command(PretrainConfig, "metaft pretrain --dataset omniglot --minutes 8 --out runs/pre-0")
def command(run: Opening[PretrainConfig]) -> None:
    """Train a network to start from: a classifier of all training classes, or a language model of a corpus.

    Writes a run directory as meta-train does. A classifier's features are scored every so often by class means on
    few-shot tasks of the validation classes, a language model (--dataset openstax --objective masked+order) by its
    perplexity on held-out text, and the best weights are kept. Ctrl-C stops with a checkpoint, --resume goes on.
    """
    from metaft.cli.dry_run import show_dry_run
    from metaft.cli.summary import preparing, show_language, show_pretrained
    from metaft.commands.pretrain import build_language, build_pretraining, pretrain, require_place
    from metaft.training.dry_run import dry_run

    require_place(run.config)
    if run.config.on_words:
        with preparing(run):
            language = build_language(run.config)
        if run.dry_run:
            show_dry_run(dry_run(language.learner, language.train, language.validation, run.config), run)
            return
        result = pretrain(parts=language, **run.how)
        if run.progress:
            show_language(result, run.config, language.train.corpus)
        return
    with preparing(run):
        parts = build_pretraining(run.to_build)
    if run.dry_run:
        show_dry_run(dry_run(parts.learner, parts.train, parts.validation, run.config, parts.base), run)
        return
    result = pretrain(parts=parts, **run.how)
    if run.progress:
        show_pretrained(result, run.config, parts.train.outputs)
