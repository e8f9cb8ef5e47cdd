"""``metaft complete``."""

from __future__ import annotations

import sys
from pathlib import Path

import click
from rich.console import Console
from rich.text import Text

from metaft.cli.completion import words
from metaft.errors import MetaftError, printable

MODELS = ("hf:smollm2", "stories260k")
FILE, STDIN = "@", "-"


@click.command(
    "complete", epilog='Example:  metaft complete hf:smollm2 "Review: A dull film.\\nSentiment:" --answers good,bad'
)
@click.argument("model", shell_complete=words(MODELS, files=True))
@click.argument("prompt")
@click.option("--answers", metavar="TEXT,…", help="answers to score, parted by commas [default: none]")
@click.option("--words", "count", type=int, default=30, show_default=True, metavar="COUNT", help="said at most, or 0")
@click.option(
    "--choices", type=int, default=1, show_default=True, metavar="COUNT",
    help="draw each word among so many likeliest; 1 takes the likeliest",
)  # fmt: skip
@click.option("--seed", type=int, default=0, show_default=True, metavar="COUNT", help="of the draws")
def command(model: str, prompt: str, answers: str | None, count: int, choices: int, seed: int) -> None:
    r"""Show how MODEL goes on with PROMPT, and how probable given answers are.

    MODEL is hf:smollm2, stories260k, hf:FOLDER with a causal model of Hugging Face, or a run of metaft pretrain
    --objective causal. PROMPT is a text in which \n stands for a line break, - for what is piped in, or @FILE. Words
    are pieces of the model's tokenizer. It stops where the model says that the text ends.

    An answer's log-probability is the sum over its pieces, behind the prompt; its probability is that among the given
    answers. Spaces at the end of the prompt are left off, and an answer gets one before it, unless it begins with a
    sign, or the prompt ends in a line break or a sign that no space follows.
    """
    from metaft.assembly.causal_model import causal_model
    from metaft.cli.screen import print_table
    from metaft.prompting.completion import complete

    text = _prompt(prompt)
    if not text.strip():
        raise MetaftError("the prompt is empty; write something that the model can go on with")
    asked = [_broken(answer) for answer in answers.split(",")] if answers is not None else []
    found = complete(*causal_model(model, seed), text, asked, count, choices, seed)
    said = Text(_lines(found.prompt), style="dim") + Text(_lines(found.text), style="bold")
    Console(soft_wrap=True).print(said)
    if found.answers:
        best = max(range(len(found.answers)), key=lambda number: found.answers[number].log_probability)
        rows = [
            [printable(one.text), f"{one.log_probability:.3f}", f"{100 * one.probability:.2f}", one.pieces]
            for one in found.answers
        ]
        print_table(["answer", "log-probability", "% of these", "pieces"], rows, bold=[best])


def _prompt(given: str) -> str:
    if given == STDIN:
        return sys.stdin.read().removesuffix("\n")
    if not given.startswith(FILE):
        return _broken(given)
    file = Path(given.removeprefix(FILE))
    try:
        return file.read_text(encoding="utf-8").removesuffix("\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text in UTF-8"
        raise MetaftError(f"cannot read the prompt {file}: {reason}; @ stands before a file's name") from None


def _lines(text: str) -> str:
    """A text without control characters other than line breaks, by which a stranger's model could steer a terminal."""
    return "\n".join(map(printable, text.split("\n")))


def _broken(text: str) -> str:
    """Its ``\\n`` as line breaks."""
    return text.replace("\\n", "\n")
