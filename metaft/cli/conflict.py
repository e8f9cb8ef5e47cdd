"""``metaft conflict``."""

from __future__ import annotations

import math
from typing import Any

import click

from metaft.cli.options import setting_options
from metaft.cli.screen import print_table
from metaft.settings.family import FamilySettings

TASKS = tuple(name for name in FamilySettings.model_fields if not name.startswith("fewest"))


@click.command("conflict", epilog="Example:  metaft conflict hf:minilm --dataset intents:within=domain --shots 5")
@click.argument("backbone")
@click.option("--tasks", type=click.IntRange(2), default=20, show_default=True, help="how many")
@click.option("--head-steps", type=click.IntRange(1), default=50, show_default=True, help="by which a head is fitted")
@click.option("--head-rate", type=float, default=0.1, show_default=True, help="of these steps")
@click.option("--split", default="test", show_default=True, help="train, val or test")
@click.option("--json", "json_file", type=click.Path(dir_okay=False), help="write the cosines to this file")
@click.option("--seed", default="1000", show_default=True, metavar="COUNT", help="of the tasks")
@setting_options(*TASKS, "model", "hidden", "pool", "widths")
def command(backbone: str, **options: Any) -> None:
    """Say whether tasks pull a BACKBONE in the same direction: the mean cosine between their gradients, block by block.

    A BACKBONE is a run directory, hf:minilm or another pretrained model, or random. Each task's head is fitted to its
    support set first; the gradient is that of its support loss. Tasks whose cosine is about 0 or below pull apart: one
    backbone tuned for all serves none of them well, and each is better given a head or an addition of its own.
    """
    from metaft.commands.conflict import measure

    found = measure(backbone, **options)
    rows = [[block, "–" if math.isnan(value) else f"{value:+.3f}"] for block, value in found.cosines.items()]
    print_table(["block", f"mean cosine, {found.tasks} tasks"], rows, bold=[len(rows) - 1])
