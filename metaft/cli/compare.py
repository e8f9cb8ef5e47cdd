"""``metaft compare``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from rich.console import Console

from metaft.cli.completion import words
from metaft.cli.defaults import help_text
from metaft.cli.folders import OutFolder
from metaft.cli.options import setting_options
from metaft.settings.config import RunConfig
from metaft.settings.family import FamilySettings, with_dataset
from metaft.tables import LEARNERS

TASKS = tuple(name for name in FamilySettings.model_fields if not name.startswith("fewest") and name != "shots")

SHOTS = help_text("shots", RunConfig).replace("; 1-5 draws it task by task", "")


@click.command(
    "compare",
    epilog="Example:  metaft compare nearest-neighbour:metric=cosine runs/om-{seed} --dataset omniglot "
    "--shots 1,5 --seeds 3 --out comparisons/omniglot",
)
@click.argument("learners", nargs=-1, required=True, metavar="LEARNER …", shell_complete=words(LEARNERS, files=True))
@click.option("--shots", metavar="COUNT,…", help=f"such as 1,5,10: {SHOTS}")
@click.option("--tasks", "test_tasks", metavar="COUNT", help="how many at each number of shots [default: 600]")
@click.option("--seeds", default="1", show_default=True, metavar="COUNT|SEED,…", help="of learners with randomness")
@click.option(
    "--split", default="test", show_default=True, help="test; or all: every class, for learners that train nothing"
)
@click.option("--seed", default="1000", show_default=True, metavar="COUNT", help="of the tasks")
@click.option("--steps", "test_steps", metavar="COUNT", help="inner steps [default: each learner's own]")
@click.option("--baseline", metavar="LEARNER", help="what others are held against [default: the first]")
@click.option(
    "--paired-seeds",
    is_flag=True,
    help="hold seed s against the baseline's seed s, where both stand on one pretrained network, say",
)
@click.option("--out", type=OutFolder(), help="folder of the results [default: comparisons/DATASET]")
@click.option("--resume", is_flag=True, help="go on with the comparison in --out")
@click.option("--overwrite", is_flag=True, help="replace the comparison in --out")
@click.option(
    "--curves/--no-curves",
    "every_step",
    default=True,
    show_default=True,
    help="answer after every inner step, for the picture against steps; without, only the last, in a third of the time",
)
@setting_options(*TASKS, "model", "hidden", "pool", "widths", "workers")
def command(learners: tuple[str, ...], out: str | None, **options: Any) -> None:
    """Compare LEARNERs on the same test tasks: mean ± 95% interval, differences, time and memory.

    A difference's interval ranges over tasks and, where --seeds gives several, over seeds; with one seed a verdict is
    of these weights alone, and the table says so.

    A LEARNER is a name with options (nearest-neighbour:metric=cosine), a run directory (runs/om-{seed}, where {seed}
    stands for each of --seeds), zoo:NAME (metaft zoo) or an import path (mypackage.mymodule:MyLearner:option=value).
    Options of all: label=NAME; of those with a network: backbone=RUN, backbone=torchvision:resnet18 (images),
    backbone=hf:minilm (texts) or another published network, or backbone=random, and addition=lora:rank=4;alpha=8
    (frozen=nothing lets the rest adapt too); of runs: batch_norm, steps, weights.
    """
    from metaft.commands.compare.compare import compare_in
    from metaft.evaluation.comparison_report import screen
    from metaft.evaluation.task_progress import task_progress

    dataset = with_dataset({"dataset": options["dataset"]})["dataset"] or "glyphs"
    folder = Path(out) if out is not None else Path("comparisons") / str(dataset)
    with task_progress() as progress:
        comparison = compare_in(folder, learners, progress=progress, **options)
    console = Console()
    console.print(screen(comparison, console))
    click.echo(f"written: {folder}")
