"""``metaft predict``."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

import click

from metaft.cli.completion import words
from metaft.cli.folders import OutFolder
from metaft.tables import LEARNERS

if TYPE_CHECKING:
    from metaft.commands.predict.predict import Answers

SHOWN, LONGEST = 40, 48
"""Rows of the table on the terminal, and characters of a text in it."""


@click.command(
    "predict",
    epilog="Example:  metaft predict class-means:backbone=hf:minilm,normalise=l2 --support examples.csv "
    "--query questions.txt --csv answers.csv",
)
@click.argument("learner", metavar="LEARNER", shell_complete=words(LEARNERS, files=True))
@click.option("--support", type=click.Path(), metavar="PATH", help="a folder of class folders, or a table with labels")
@click.option("--query", type=click.Path(), metavar="PATH", required=True, help="a file, a folder or a table")
@click.option("--csv", "csv_file", type=click.Path(dir_okay=False), help="where to write all answers, as CSV")
@click.option("--picture", type=click.Path(dir_okay=False), help="where to draw images with their answers, PNG")
@click.option("--save", "save_to", type=OutFolder(), help="new folder: the learner with its support set")
@click.option("--text", default="text", show_default=True, metavar="COLUMN", help="tables: of the texts")
@click.option("--label", default="label", show_default=True, metavar="COLUMN", help="tables: of the classes")
@click.option("--target", metavar="COLUMN,…", help="tables: of values to predict [classes; a run on a table: its own]")
@click.option("--features", metavar="COLUMN,…", help="tables: to predict from [all others; a run on a table: its own]")
@click.option("--encoding", help="of text files, such as latin-1 [default: UTF-8]")
@click.option("--image-size", type=int, metavar="PIXELS", help="to scale images to [a run's own; else 84]")
@click.option("--colours", type=click.Choice(["grey", "rgb"]), help="of images [a run's own; else rgb]")
@click.option(
    "--ink",
    type=click.Choice(["auto", "dark", "bright"]),
    help="of drawings, for runs on drawn characters: dark on bright paper, or bright on dark [default: auto, image by "
    "image]",
)
def command(learner: str, support: str | None, query: str, **options: Any) -> None:
    """Answer the queries of your own by a support set of your own: images, texts or rows of a table.

    LEARNER is a run directory (runs/om, runs/om:steps=5), one that comes with metaft (zoo:NAME), a learner that needs
    no training (class-means:backbone=hf:minilm, nearest-neighbour:metric=cosine, fine-tuning:backbone=RUN), or a folder
    that --save wrote, which has its support set. Images are read as the run was trained: size, colours, ink.

    --support: a folder with a folder a class, of images or of .txt files; or a table (CSV, TSV, JSONL). --query: the
    same, without classes or with them, which then gives the accuracy; one image; or a .txt file with a text a line.
    """
    from metaft.commands.predict.predict import predict

    found = predict(learner, support, query, **options)
    show(found, support is not None)
    written = [options[name] for name in ("csv_file", "picture", "save_to") if options[name] is not None]
    if written:
        click.echo("written: " + "\n         ".join(map(str, written)))
    click.echo(f"next:    {_next(found, learner, support, query, options)}")


def show(found: Answers, has_support: bool) -> None:
    """Print the answers, and how many are right.

    Args:
        found: what the learner said.
        has_support: whether the support examples have names.
    """
    from metaft.cli.screen import print_facts, print_table

    classes, labelled = found.probabilities is not None, found.labels is not None
    heads = ["query", *(["answer", "probability"] if classes else found.classes)]
    heads += ["nearest support example"] if found.nearest else []
    heads += (["label"] if classes else [f"given {name}" for name in found.classes]) if labelled else []
    rows = []
    for number in range(min(len(found.queries), SHOWN)):
        row = [_short(found.queries[number])]
        if found.probabilities is not None:
            row += [str(found.answers[number]), f"{100 * found.probabilities[number].max():.1f}%"]
        else:
            row += [f"{value:.6g}" for value in found.answers[number]]
        row += [_short(found.nearest[number])] if found.nearest else []
        if labelled:
            own = found.labels[number]
            wrong = classes and bool(own) and own != found.answers[number]
            row += [f"{own}{' ✗' if wrong else ''}"] if classes else [f"{value:.6g}" for value in own]
        rows.append(row)
    print_table(heads, rows)
    if len(found.queries) > SHOWN:
        click.echo(f"… and {len(found.queries) - SHOWN:,} more: --csv FILE has all of them")
    facts = {"learner": found.learner, "mode": _mode(found)}
    if classes and found.labelled:
        facts["accuracy"] = f"{100 * found.right / found.labelled:.1f}% ({found.right} of {found.labelled} right)"
    if not classes and labelled:
        facts["mean squared error"] = f"{found.error:.6g}"
    print_facts(facts)


def _mode(found: Answers) -> str:
    if found.transductive:
        return f"transductive: an answer depends on all {len(found.queries):,} queries together"
    return "inductive: an answer depends on the support set and its own query alone"


def _short(name: str) -> str:
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"


def _next(found: Answers, learner: str, support: str | None, query: str, options: dict[str, Any]) -> str:
    """The command to try next: the answers in a file, else another learner on the same files."""
    from metaft.environment import program

    given = {"--support": support, "--query": query, "--target": options["target"], "--features": options["features"]}
    given |= {f"--{name}": options[name] for name in ("text", "label") if options[name] != name}
    again = [word for name, value in given.items() if value is not None for word in (name, str(value))]
    if options["csv_file"] is None:
        more = ["--csv", "answers.csv"]
        more += ["--picture", "answers.png"] if found.kind == "images" and options["picture"] is None else []
        return f"{program()} {shlex.join(['predict', learner, *again, *more])}"
    if options["save_to"] is None and support is not None:
        return f"{program()} {shlex.join(['predict', learner, *again, '--save', 'learner'])}"
    where = learner if support is None else str(options["save_to"])
    return f"python -c \"import metaft; print(metaft.load('{where}'))\""
