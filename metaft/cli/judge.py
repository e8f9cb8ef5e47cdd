"""``metaft judge``."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from metaft.cli.complete import MODELS
from metaft.cli.completion import words

if TYPE_CHECKING:
    from metaft.preferences.feedback.agreement import Report, Share

PRINCIPLES = Path(__file__).parents[1] / "preferences" / "feedback" / "principles"


def principle_names() -> list[str]:
    """Principles that come with metaft, found without importing torch."""
    return sorted(file.stem for file in PRINCIPLES.glob("*.toml"))


principle_option = click.option(
    "--principle", "principles", multiple=True, default=("helpful",), show_default=True, metavar="NAME",
    shell_complete=words(principle_names, files=True),
    help=f"{', '.join(principle_names())}, a file .toml, or a sentence of your own; may be given several times",
)  # fmt: skip


def count_option(name: str, help: str, default: int | None = None, *more: str) -> Any:
    """An option that takes a whole number."""
    return click.option(
        name, *more, type=int, default=default, show_default=default is not None, metavar="COUNT", help=help
    )


@click.command("judge", epilog="Example:  metaft judge dpo-demo --principle helpful --limit 100 --out labels.jsonl")
@click.argument("dataset")
@click.option(
    "--model", default="hf:smollm2", show_default=True, metavar="NAME", shell_complete=words(MODELS, files=True),
    help="the judge: hf:smollm2, hf:FOLDER, stories260k, or a run",
)  # fmt: skip
@principle_option
@click.option("--split", default="all", show_default=True, help="train, val, test or all")
@count_option("--limit", "pairs that are drawn [default: all]")
@click.option(
    "--answers-from", metavar="NAME", shell_complete=words(MODELS, files=True),
    help="a model that writes two answers to each prompt [default: the data's own]",
)  # fmt: skip
@count_option("--words", "of such an answer, at most", 64)
@click.option("--temperature", type=float, default=1.0, show_default=True, metavar="NUMBER", help="of such answers")
@click.option("--template", metavar="NAME", help="the judge's chat template [default: the model's own]")
@count_option("--length", "words of a question to the judge, at most; what is longer is cut", 1024)
@click.option("--data-root", type=click.Path(), help="where data are looked for first; then METAFT_DATA, then ./data")
@count_option("--split-seed", "how prompts are divided into train, val and test", 0)
@count_option("--seed", "which pairs are drawn, and of answers", 0)
@click.option("--out", type=click.Path(dir_okay=False), help="labels, .jsonl [default: nothing is written]")
@click.option("--resume", is_flag=True, help="go on with an --out that was stopped; say the rest as before")
@click.option("--overwrite", is_flag=True, help="replace what is in --out")
def command(out: str | None, resume: bool, overwrite: bool, **options: Any) -> None:
    """Let a model say which answers of DATASET are better, by stated principles.

    The judge is asked in both orders, and its probabilities of the letters A and B are averaged: what the place of an
    answer does cancels. Where people have labelled the pairs, it is said how often the judge agrees with them, beside
    simple rules: the longer answer, and the likelier one. With --out pairs are written with the judge's probability,
    which metaft tune --objective reward and dpo take as soft labels.

    DATASET is a set of preferences (metaft data) or a file of your own; with --answers-from also instructions, or a
    .txt with a prompt a line.
    """
    from metaft.cli.screen import print_facts, print_line, print_table
    from metaft.commands.judge import JudgeSettings, judge
    from metaft.environment import program
    from metaft.evaluation.task_progress import task_progress

    settings = JudgeSettings(**options)
    typed = shlex.join(["metaft", *sys.argv[1:]])
    with task_progress("pairs") as progress:
        found = judge(settings, out, overwrite=overwrite, resume=resume, command=typed, progress=progress)
    if found.agreement:
        print_table(
            ["", "agrees with people, %", "95% interval"], [_row(*one) for one in found.agreement.items()], bold=[0]
        )
        print_line(_plainly(found))
    print_facts(_facts(found))
    if out is not None:
        onward = [f"{program()} tune --objective {name} --dataset {shlex.quote(out)}" for name in ("reward", "dpo")]
        print_facts({"written": out, "next": "\n".join(onward)})


def _row(name: str, share: Share) -> list[str]:
    return [name, f"{100 * share.mean:.1f}", f"{100 * share.low:.1f} – {100 * share.high:.1f}"]


def _plainly(found: Report) -> str:
    """Whether the judge knows anything of what people like."""
    judge = found.agreement["judge"]
    if judge.is_chance:
        return f"On these {judge.count:,} pairs the judge cannot be told from a coin: the interval holds 50%."
    if judge.mean < 0.5:
        return "The judge is against people more often than not."
    best = max((name for name in found.agreement if name != "judge"), key=lambda name: found.agreement[name].mean)
    rule = found.agreement[best]
    more = "more" if judge.mean > rule.mean else "no more"
    return f"The judge agrees with people {more} often than the best simple rule, the {best} ({100 * rule.mean:.1f}%)."


def _facts(found: Report) -> dict[str, str]:
    place = found.place
    rules = ", ".join(f"the {name} {100 * one.mean:.1f}%" for name, one in found.rules.items())
    return {
        "pairs": f"{found.pairs:,}",
        "the judge takes": rules,
        "place": f"the answer that stands first gets {100 * place.first:.1f} ± {100 * place.first_ci95:.1f}%; "
        f"in {100 * place.same_place:.1f}% of pairs one place wins in both orders",
        "certainty": f"{100 * found.certainty:.1f}% for the answer that is taken, after both orders",
        "A or B": f"{100 * found.letters:.1f}% of what the judge would say there",
    }
