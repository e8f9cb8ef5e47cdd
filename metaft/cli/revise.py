"""``metaft revise``."""

from __future__ import annotations

import shlex
import sys
from typing import Any

import click

from metaft.cli.complete import MODELS
from metaft.cli.completion import words
from metaft.cli.judge import count_option, principle_option


@click.command("revise", epilog="Example:  metaft revise self-instruct --principle concise --limit 50 --out sft.jsonl")
@click.argument("prompts")
@click.option(
    "--model", default="hf:smollm2", show_default=True, metavar="NAME", shell_complete=words(MODELS, files=True),
    help="writes everything: hf:smollm2, hf:FOLDER, stories260k, or a run",
)  # fmt: skip
@principle_option
@click.option("--split", default="all", show_default=True, help="train, val, test or all")
@count_option("--limit", "prompts, the first [default: all]")
@count_option("--words", "of an answer and of a critique, at most", 96)
@click.option("--temperature", type=float, default=0.7, show_default=True, metavar="NUMBER", help="of what is drawn")
@click.option("--template", metavar="NAME", help="chat template [default: the model's own]")
@click.option("--data-root", type=click.Path(), help="where data are looked for first; then METAFT_DATA, then ./data")
@count_option("--split-seed", "how prompts are divided into train, val and test", 0)
@count_option("--seed", "of what is drawn", 0)
@click.option("--out", type=click.Path(dir_okay=False), required=True, help="prompts with revised answers, .jsonl")
@click.option("--resume", is_flag=True, help="go on with an --out that was stopped; say the rest as before")
@click.option("--overwrite", is_flag=True, help="replace what is in --out")
def command(out: str, resume: bool, overwrite: bool, **options: Any) -> None:
    """Let a model answer PROMPTS, criticise its answers by stated principles, and write them anew.

    Each principle is a round: the answer, a critique of it, a revision, which the next round begins with. Prompts and
    last revisions are rows that metaft tune --objective sft reads; all steps are kept beside them.

    PROMPTS are of instructions or preferences (metaft data), a .txt with one a line, or a file of your own.
    """
    from metaft.cli.screen import print_facts
    from metaft.commands.revise import ReviseSettings, revise
    from metaft.environment import program
    from metaft.evaluation.task_progress import task_progress

    settings = ReviseSettings(**options)
    typed = shlex.join(["metaft", *sys.argv[1:]])
    with task_progress("prompts") as progress:
        found = revise(settings, out, overwrite=overwrite, resume=resume, command=typed, progress=progress)
    print_facts(
        {
            "prompts with a revised answer": f"{found.rows:,}",
            "answers that changed": f"{found.changed:,}",
            "words of an answer": f"{found.words_before:.1f} at first, {found.words_after:.1f} revised",
            "written": out,
            "next": f"{program()} tune --objective sft --dataset {shlex.quote(out)}",
        }
    )
