"""``metaft tune``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from metaft.cli.options import training_command
from metaft.settings.tune import TuneConfig

if TYPE_CHECKING:
    from metaft.commands.opening import Opening


@training_command(TuneConfig, "metaft tune --objective dpo:beta=0.1 --dataset dpo-demo --minutes 20 --out runs/dpo-0")
def command(run: Opening[TuneConfig]) -> None:
    """Tune a language model: by instructions (sft), as a reward model of people's preferences (reward), by the
    preferences themselves (dpo), or by a reward that its own answers earn (ppo).

    Writes a run directory as meta-train does, which is a model for metaft complete, for --model here, and a backbone
    elsewhere. What moves is what is put into the model, LoRA by default; the reference policy is the start. Every so
    often the validation part is scored, and the best weights by its loss are kept. Ctrl-C stops with a checkpoint,
    --resume goes on.
    """
    from metaft.assembly.tuning import build_tuning
    from metaft.cli.dry_run import show_dry_run
    from metaft.cli.summary import preparing, show_tuned
    from metaft.commands.tune import tune
    from metaft.training.dry_run import dry_run

    with preparing(run):
        parts = build_tuning(run.to_build)
    if run.dry_run:
        show_dry_run(dry_run(parts.learner, parts.train, parts.validation, run.config, parts.base), run)
        return
    result = tune(parts=parts, **run.how)
    if run.progress:
        show_tuned(result, run.config, parts.learner)
