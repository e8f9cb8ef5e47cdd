"""``metaft facts``."""

from __future__ import annotations

import shlex
from typing import Any

import click
from rich.console import Console

from metaft.cli.complete import MODELS
from metaft.cli.completion import words
from metaft.cli.folders import OutFolder


def _count(name: str, default: int, text: str) -> Any:
    return click.option(name, type=int, default=default, show_default=True, metavar="COUNT", help=text)


@click.command("facts", epilog="Example:  metaft facts hf:smollm2 --relation capitals --out facts/capitals")
@click.argument("model", shell_complete=words(MODELS, files=True))
@click.option(
    "--relation", default="capitals", show_default=True, metavar="NAME", shell_complete=words(("capitals", "P36")),
    help="capitals, or one of Wikidata in T-REx, such as P103",
)  # fmt: skip
@_count("--train", 60, "subjects to train on and to show")
@_count("--validation", 20, "subjects to choose on")
@_count("--test", 100, "subjects that are asked about, at most")
@_count("--shots", 8, "demonstrations, beside zero and one; 0 for none")
@_count("--paraphrases", 5, "further patterns, at most")
@_count("--trigger-length", 5, "words of the trigger; 0 for none")
@_count("--trigger-steps", 30, "of its search")
@_count("--prompt-length", 5, "vectors of the soft prompt; 0 for none")
@_count("--prompt-steps", 60, "of its training")
@_count("--seed", 0, "of subjects, demonstrations, trigger and soft prompt")
@click.option("--data-root", type=click.Path(), help="where data are looked for first; then METAFT_DATA, then ./data")
@click.option("--out", type=OutFolder(), help="folder of table and page [default: nothing is written]")
@click.option("--overwrite", is_flag=True, help="replace the table in --out")
def command(model: str, out: str | None, **options: Any) -> None:
    """Ask MODEL for the objects of a relation, and say how many it tells behind each kind of prompt.

    The same test subjects are asked about without demonstrations, behind one and several, by other patterns, behind a
    trigger (words that are searched by gradient, AutoPrompt), and behind a soft prompt (vectors that are trained).
    Trigger and soft prompt see training subjects and are chosen on validation subjects. An answer is right if the
    object is the likeliest of all objects of the relation.

    MODEL is hf:smollm2, stories260k, hf:FOLDER with a causal model of Hugging Face, or a run of metaft pretrain
    --objective causal.
    """
    from metaft.cli.screen import print_facts
    from metaft.commands.facts import facts_in
    from metaft.environment import program
    from metaft.evaluation.facts_report import screen

    told = Console(stderr=True)
    with told.status("facts …") as status:
        say = status.update if told.is_terminal else lambda text: told.print(text, markup=False, soft_wrap=True)
        found, summary = facts_in(model, out=out, progress=say, **options)
    Console().print(screen(found, summary))
    best = max(found, key=lambda one: int(one.right.sum()))
    leads = [
        "complete",
        model,
        best.pattern.replace("{answer}", "").replace("{text}", "France").replace("\n", "\\n").strip(),
    ]
    print_facts({**({"written": out} if out else {}), "next": f"{program()} {shlex.join(leads)}"})
