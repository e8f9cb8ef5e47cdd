"""Command-line options made from the settings' fields, so that names, defaults and help agree everywhere."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable
from itertools import pairwise
from typing import Any, get_args

import click
from pydantic.fields import FieldInfo

from metaft.cli.completion import Complete, of_setting, words
from metaft.cli.defaults import default_text, help_text, settled
from metaft.cli.folders import OutFolder
from metaft.configs import NAMES
from metaft.plugins import is_import_path, named_part
from metaft.settings.config import CommandSettings, RunConfig, section_of, to_json_schema, to_toml
from metaft.settings.family import is_flag
from metaft.settings.learner import FLAGS, LearnerSettings
from metaft.tables import META_TRAINED

F = Callable[..., Any]
LEARNER, ALL = "metaft.learner", "metaft.all"
COMPUTED = ("objective_weight", "solver_iterations")
"""Options that are parts' own now: l2:weight=…, implicit:iterations=…."""


class TrainingCommand(click.Command):
    """A command whose help groups its options under the headings of the TOML file, the common ones alone at first."""

    kind: type[CommandSettings] = RunConfig

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As click's, for a function of the opened run; a learner's name is known before ``--help`` is answered."""
        named = [after for word, after in pairwise([*args, ""]) if word == "--learner"]
        named += [word.partition("=")[2] for word in args if word.startswith("--learner=")]
        ctx.meta[LEARNER] = named[-1] if named else ""
        rest = super().parse_args(ctx, args)
        if not ctx.resilient_parsing:
            from metaft.commands.opening import opening, settled_settings

            how = {name: ctx.params.pop(name) for name in ("file", "out", "resume", "overwrite", "quiet", "dry_run")}
            typed = shlex.join(["metaft", *sys.argv[1:]])
            if ctx.params.pop("print_config"):
                click.echo(to_toml(settled_settings(self.kind, how["file"], ctx.params)), nl=False)
                ctx.exit()
            ctx.params = {"run": opening(self.kind, ctx.params, command=typed, **how)}
        return rest

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """As click's; with a learner named, that learner's options alone."""
        named = "" if ctx.meta.get(ALL) else ctx.meta.get(LEARNER, "")
        if named and not is_import_path(named_part(named, "learner").name):
            learner_help(named_part(named, "learner").name, ctx.command_path, formatter)
        else:
            super().format_help(ctx, formatter)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, those that are settings under their section."""
        groups: dict[str, list[tuple[str, str]]] = {}
        common = self.kind.common if not ctx.meta.get(ALL) else ()
        for param in self.get_params(ctx):
            record, name = param.get_help_record(ctx), param.name or ""
            setting = name in self.kind.model_fields
            if record is not None and not (setting and common and name not in common):
                groups.setdefault(f"[{section_of(name, self.kind)}]" if setting else "Options", []).append(record)
        for group in ("Options", *(f"[{section}]" for section in self.kind.sections)):
            if group in groups:
                with formatter.section(group):
                    formatter.write_dl(groups[group])
        if common:
            hidden = len(self.kind.model_fields) - len(common)
            formatter.write_paragraph()
            formatter.write_text(f"{hidden} options more: {ctx.command_path} --help-all")
            formatter.write_text(f"Options of one learner: {ctx.command_path} --learner NAME --help")
            formatter.write_text("Rules, estimators and other parts, with their options: metaft parts")


def learner_help(name: str, program: str, formatter: click.HelpFormatter) -> None:
    """Write what one learner can be told, and what it does where it is not.

    Args:
        name: of the learner.
        program: the command, such as ``metaft meta-train``.
        formatter: to write to.

    Raises:
        MetaftError: if there is no such learner.
    """
    META_TRAINED.require(name)
    formatter.write_usage(program, f"--learner {name} [OPTIONS]")
    formatter.write_paragraph()
    with formatter.indentation():
        formatter.write_text(META_TRAINED.summary(name))
    published, general, own = settled(RunConfig, learner=name), [], []
    for option in META_TRAINED.options(name).values():
        text = option.help or "as its docstring says"
        if option.name in LearnerSettings.model_fields:
            value = published.get(option.name)
            default = default_text(option.default if value is None else value)
            general.append((f"--{option.name.replace('_', '-')}", f"{text} [{default}]"))
        elif option.name not in COMPUTED:
            own.append((f"{name}:{option.name}=…", f"{text} [{default_text(option.default)}]"))
    sections = {f"Options of {name} alone, joined by commas": own, "Options of every such learner": general}
    for title, rows in sections.items():
        if rows:
            with formatter.section(title):
                formatter.write_dl(rows)
    formatter.write_paragraph()
    formatter.write_text(f"–: the learner's own choice. Data, network and training: {program} --help")


def setting_options(
    *names: str, kind: type[CommandSettings] = RunConfig, text: Callable[[str], str] | None = None
) -> Callable[[F], F]:
    """Add options for settings.

    Args:
        names: which; all of them by default.
        kind: the command's settings.
        text: setting → its help, where the command has its own.

    Returns:
        A decorator. Options that were not given arrive as None, the others as text for the settings to check.
    """

    def decorate(function: F) -> F:
        for name in reversed(() if names else kind.older):  # taken, and not shown: they stand in another setting now
            function = _option(name, name in FLAGS, hidden=True)(function)
        for name in reversed(names or list(kind.model_fields)):
            field = kind.model_fields[name]
            told = text(name) if text else help_text(name, kind)
            shown: dict[str, Any] = {"help": told, "shell_complete": _offered(name, kind)}
            function = _option(name, is_flag(field), _metavar(field), **shown)(function)
        return function

    return decorate


def training_command(
    kind: type[CommandSettings], example: str, resume: str = "to the same end", overwrite: str = ""
) -> Callable[[F], click.Command]:
    """Make a command that trains into a run directory, with all settings as options.

    Args:
        kind: its settings.
        example: of a call.
        resume: how a run goes on.
        overwrite: what is replaced beside the run.

    Returns:
        A decorator of a function of the opened run (see ``metaft.commands.opening``).
    """
    configs = NAMES if kind is RunConfig else ()
    shipped = f", or one that comes with metaft: {', '.join(configs)}" if configs else ""
    options = (
        click.option(
            "--config",
            "file",
            type=click.Path(dir_okay=False),
            shell_complete=words(configs, files=True),
            help=f"TOML file{shipped}; options override it",
        ),
        click.option("--out", type=OutFolder(), help=f"run directory [default: runs/DATASET-{kind.makes}]"),
        click.option("--resume", is_flag=True, help=f"go on with the run in --out, {resume}"),
        click.option("--overwrite", is_flag=True, help=f"replace the run in --out{overwrite}"),
        click.option("--quiet", is_flag=True, help="no progress, no table"),
        click.option("--dry-run", is_flag=True, help="make one update, say what the run would need, and write nothing"),
        click.option(
            "--print-config", is_flag=True, help="print all settings as a file for --config, and train nothing"
        ),
        click.option(
            "--print-schema",
            is_flag=True,
            is_eager=True,
            expose_value=False,
            callback=_schema_of(kind),
            help="print the JSON schema of that file, for editors",
        ),
        click.option("--help-all", is_flag=True, is_eager=True, expose_value=False, callback=_help_all, hidden=True),
        setting_options(kind=kind),
    )

    def decorate(function: F) -> click.Command:
        for option in reversed(options):
            function = option(function)
        cls = type("Command", (TrainingCommand,), {"kind": kind})
        return click.command(kind.command, cls=cls, epilog=f"Example:  {example}")(function)

    return decorate


def _help_all(ctx: click.Context, param: click.Parameter, asked: bool) -> None:
    if asked:
        ctx.meta[ALL] = True
        click.echo(ctx.get_help())
        ctx.exit()


def _schema_of(kind: type[CommandSettings]) -> Callable[[click.Context, click.Parameter, bool], None]:
    def print_schema(ctx: click.Context, param: click.Parameter, asked: bool) -> None:
        if asked:
            click.echo(json.dumps(to_json_schema(kind), indent=2))
            ctx.exit()

    return print_schema


def _offered(name: str, kind: type[CommandSettings]) -> Complete | None:
    choices = [word for word in _parts(kind.model_fields[name].annotation) if isinstance(word, str)]
    return None if is_flag(kind.model_fields[name]) else of_setting(name, choices, kind)


def _option(name: str, flag: bool, metavar: str | None = None, **more: Any) -> Callable[[F], F]:
    words = name.replace("_", "-")
    if flag:
        return click.option(f"--{words}/--no-{words}", name, default=None, **more)
    return click.option(f"--{words}", name, default=None, metavar=metavar, **more)


def _metavar(field: FieldInfo) -> str:
    kinds = [kind for kind in _parts(field.annotation) if kind is not type(None)]
    words = {float: "NUMBER", int: "COUNT", str: "NAME", bool: ""}
    return "|".join(kind if isinstance(kind, str) else words[kind] for kind in kinds)


def _parts(annotation: Any) -> list[Any]:
    """What an annotation allows: types, and the strings of its literals."""
    inner = [entry for entry in get_args(annotation) if not isinstance(entry, FieldInfo)]
    return [part for entry in inner for part in _parts(entry)] if inner else [annotation]
