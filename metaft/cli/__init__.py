"""The ``metaft`` command; each subcommand's module is imported only when it is called."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import click

from metaft.allocator import keep_freed_memory
from metaft.data.notes import each_once
from metaft.distributed.place import place
from metaft.distributed.say_once import is_first_to_say
from metaft.errors import MetaftError, nearest
from metaft.files import shown
from metaft.speech import command_line

COMMANDS = {
    "meta-train": ("metaft.cli.meta_train", "Meta-train a learner, into a run directory."),
    "pretrain": ("metaft.cli.pretrain", "Train a classifier, to fine-tune or take features from."),
    "tune": ("metaft.cli.tune", "Tune a language model: instructions, rewards, preferences."),
    "judge": ("metaft.cli.judge", "Let a model say which answers are better, by principles."),
    "revise": ("metaft.cli.revise", "Let a model criticise its answers and write them anew."),
    "distill": ("metaft.cli.distill", "Train generations of a classifier, each taught by the last."),
    "evaluate": ("metaft.cli.evaluate", "Score a run on test tasks, with confidence intervals."),
    "predict": ("metaft.cli.predict", "Answer images, texts or rows of your own by a support set of your own."),
    "sweep": ("metaft.cli.sweep", "Run a grid in parallel; choose a setting on validation classes."),
    "runs": ("metaft.cli.runs", "List runs: state, progress, score."),
    "show": ("metaft.cli.show", "Show everything needed to repeat a run."),
    "repeat": ("metaft.cli.repeat", "Repeat a run, and say whether the numbers agree."),
    "compare": ("metaft.cli.compare", "Compare learners on the same test tasks."),
    "conflict": ("metaft.cli.conflict", "Say whether tasks pull one backbone apart, block by block."),
    "analogies": ("metaft.cli.analogies", "Answer a : b = c : ? by word vectors, section by section."),
    "complete": ("metaft.cli.complete", "Go on with a prompt; score given answers to it."),
    "variance": ("metaft.cli.variance", "Say how far patterns, examples and orders move a prompt."),
    "facts": ("metaft.cli.facts", "Ask a model for facts: examples, paraphrases, triggers, soft prompts."),
    "export": ("metaft.cli.export", "Write a run as a folder of peft or Hugging Face."),
    "tensorboard": ("metaft.cli.tensorboard", "Open TensorBoard on runs."),
    "parts": ("metaft.cli.parts", "List the named parts, their options and defaults."),
    "zoo": ("metaft.cli.zoo", "List the trained learners that come with metaft."),
    "data": ("metaft.cli.data", "List data sets: where they are, what they hold, licences."),
}


DIVIDED = ("meta-train", "pretrain", "tune", "evaluate", "compare")
"""Commands that torchrun can start on several ranks."""


class LazyGroup(click.Group):
    """Subcommands by name, imported on use; a user's mistake ends in one line and exit code 2."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names, in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a subcommand."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(COMMANDS[cmd_name][0]).command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click's, but an unknown name is told the nearest one."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            raise MetaftError(f"unknown command {args[0]!r}{nearest(args[0], COMMANDS)}")
        if args and args[0] in COMMANDS and args[0] not in DIVIDED and place().size > 1:
            raise MetaftError(
                f"metaft {args[0]} does not divide its work among ranks, only {', '.join(DIVIDED)} do; "
                "start it without torchrun"
            )
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the subcommands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        """Run, and end the process with the right code."""
        with command_line():
            return self._run(args, prog_name, complete_var, **extra)

    def _run(self, args: Sequence[str] | None, prog_name: str | None, complete_var: str | None, **extra: Any) -> Any:
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):  # a path or a sign that this terminal cannot show ends no command
                stream.reconfigure(errors="backslashreplace")
        try:
            if not place().first:
                sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 -- rank 0 speaks for all
            with each_once():
                result = super().main(args, prog_name or "metaft", complete_var, standalone_mode=False, **extra)
        except MetaftError as error:
            _fail(str(error), 2)
        except click.NoSuchOption as error:
            way = f"did you mean {error.possibilities[0]!r}?" if error.possibilities else "see --help"
            _fail(f"unknown option {error.option_name!r}; {way}", 2)
        except click.ClickException as error:
            _fail(error.format_message(), 2)
        except click.Abort as error:
            # Click makes this of every KeyboardInterrupt; a stopped run's says more.
            stopped = error.__cause__
            _fail(str(stopped or "") or "interrupted", getattr(stopped, "exit_code", 130), mark="")
        except BrokenPipeError:
            # The reader of our output, such as head, has seen enough.
            sys.stderr.close()
            sys.exit(0)
        except OSError as error:
            if error.filename is None:
                raise
            _fail(f"{shown(os.fsdecode(error.filename))}: {error.strerror or error}", 2)
        sys.exit(result if isinstance(result, int) else 0)


def _fail(message: str, code: int, mark: str = "Error: ") -> None:
    line = mark + " ".join(message.split())
    if is_first_to_say(line):
        click.echo(line, err=True)
    sys.exit(code)


@click.group(
    cls=LazyGroup,
    invoke_without_command=True,
    subcommand_metavar="COMMAND [ARGS]...",
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(package_name="metaft", prog_name="metaft")
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Few-shot learning and meta-learning, compared on identical tasks.

    Start with:  metaft meta-train --minutes 3
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def main() -> None:
    """The console script."""
    keep_freed_memory()
    cli()
