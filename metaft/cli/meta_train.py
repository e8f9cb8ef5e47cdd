"""``metaft meta-train``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from metaft.cli.options import training_command
from metaft.settings.config import RunConfig

if TYPE_CHECKING:
    from metaft.commands.opening import Opening


@training_command(RunConfig, "metaft meta-train --dataset omniglot --ways 5 --shots 1 --minutes 10 --out runs/omniglot")
def command(run: Opening[RunConfig]) -> None:
    """Meta-train a learner: many small tasks, one initialisation that learns each of them in a few steps.

    Writes a run directory with the configuration, metrics (also for TensorBoard) and checkpoints; weights are
    chosen on validation classes only. Ctrl-C stops with a checkpoint, --resume goes on.
    """
    from metaft.assembly.teaching import build_taught, check_teacher
    from metaft.cli.dry_run import show_dry_run
    from metaft.cli.summary import preparing, show, show_scope
    from metaft.training.dry_run import dry_run
    from metaft.training.loop import meta_train

    check_teacher(run.config, run.out)
    with preparing(run):
        parts = build_taught(run.to_build)
    if run.dry_run:
        show_dry_run(dry_run(parts.learner, parts.train, parts.validation, run.config, parts.base), run)
        return
    if run.progress:
        show_scope(parts.learner)
    result = meta_train(parts.learner, parts.train, validation=parts.validation, base=parts.base, **run.how)
    if run.progress:
        show(result, run.config, parts.learner)
