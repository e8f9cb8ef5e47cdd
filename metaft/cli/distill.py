"""``metaft distill``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from metaft.cli.options import training_command
from metaft.settings.distill import DistillConfig

if TYPE_CHECKING:
    from metaft.commands.opening import Opening


@training_command(
    DistillConfig,
    "metaft distill --dataset mnist --temperature 1,4,20 --generations 2 --out runs/mnist",
    resume="in the generation it was in",
    overwrite=", with all its generations",
)
def command(run: Opening[DistillConfig]) -> None:
    """Train a classifier on labels, then each next generation from the soft labels of the one before it.

    Writes a run directory with one run a generation, chosen on validation data; test data are scored once, at the
    end. --teacher RUN begins from a run of metaft pretrain or metaft distill. Ctrl-C stops with a checkpoint,
    --resume goes on to the same end.
    """
    from metaft.cli.distill_summary import say, show_report
    from metaft.cli.dry_run import show_dry_run
    from metaft.cli.summary import preparing
    from metaft.commands.distill.distill import distill, prepare
    from metaft.commands.distill.dry_runs import dry_runs

    with preparing(run):
        prepared = prepare(run.to_build)
    if run.dry_run:
        for title, found in dry_runs(run.config, prepared):
            show_dry_run(found, run, title)
        return
    report = distill(prepared=prepared, watch=say if run.progress else lambda text: None, **run.how)
    if run.progress:
        show_report(report)
