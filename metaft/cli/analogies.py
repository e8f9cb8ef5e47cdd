"""``metaft analogies``."""

from __future__ import annotations

import shlex
from typing import Any

import click
from rich.console import Console

from metaft.cli.completion import words
from metaft.cli.folders import OutFolder
from metaft.plugins import is_foreign

SOURCES = ("word2vec", "hf:minilm", "hf:smollm2", "stories260k")


@click.command(
    "analogies",
    epilog="Example:  metaft analogies word2vec hf:minilm --corpus openstax+children --out analogies/first",
)
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE …", shell_complete=words(SOURCES, files=True))
@click.option(
    "--corpus",
    default="openstax+children",
    show_default=True,
    help="what word2vec is trained on: a corpus, several joined by +, all, or the path of a .txt, a .jsonl or a folder",
)
@click.option(
    "--questions",
    type=click.Path(dir_okay=False),
    help="a file of four words a line, under lines ': section' [default: questions-words.txt under the data root]",
)
@click.option(
    "--draw", metavar="SECTION,…", help="whose pairs are drawn [default: two about meaning, two about grammar]"
)
@click.option("--seed", type=int, default=0, show_default=True, metavar="COUNT", help="of word2vec")
@click.option("--data-root", type=click.Path(), help="where data are looked for first; then METAFT_DATA, then ./data")
@click.option("--out", type=OutFolder(), help="folder of table, page and pictures [default: nothing is written]")
@click.option("--overwrite", is_flag=True, help="replace the table in --out")
def command(sources: tuple[str, ...], draw: str | None, out: str | None, **options: Any) -> None:
    """Answer analogies a : b = c : ? by the word vectors of each SOURCE, section by section.

    A SOURCE is word2vec, with options as in word2vec:size=100,window=5,epochs=5,least=5, or a network whose input
    embeddings are taken: hf:minilm or another pretrained model, stories260k, or a run directory of metaft pretrain.
    word2vec is trained on --corpus, a minute for a million words, and kept; it needs the extra words. Of a network
    those words are known that are one piece of its tokenizer. The case of questions is folded where a source knows no
    capital letters.

    The answer is the known word with the highest score, other than a, b and c: cos b − cos a + cos c (3CosAdd), or
    cos b · cos c / cos a (3CosMul). Beside them stand the word nearest to c, and guessing. A question with an unknown
    word is not covered, and is left out.
    """
    from metaft.cli.screen import print_facts
    from metaft.commands.analogies import solve
    from metaft.environment import program
    from metaft.evaluation.analogies_report import screen

    told = Console(stderr=True)
    with told.status("questions …") as status:
        chosen = [name.strip() for name in draw.split(",")] if draw else []
        found, questions = solve(sources, draw=chosen, out=out, progress=status.update, **options)
    console = Console()
    console.print(screen(found, questions, console.width))
    facts = {"written": out} if out else {}
    print_facts({**facts, "next": f"{program()} {shlex.join(_next(sources, out))}"})


def _next(sources: tuple[str, ...], out: str | None) -> list[str]:
    """The words of a command that leads on: to keep the table, to use a network, or to train better vectors."""
    if out is None:
        return ["analogies", *sources, "--out", "analogies/first"]
    networks = [source for source in sources if source.partition(":")[0] != SOURCES[0]]
    if not networks:
        return ["analogies", "word2vec:size=300,epochs=10", "--corpus", "all", "--out", f"{out}-larger"]
    own = [] if is_foreign(networks[0]) else ["--tokenizer", networks[0]]
    return ["compare", f"class-means:backbone={networks[0]}", "--dataset", "intents", *own]
