"""Command-line options made from the settings' fields, so that names, defaults and help agree everywhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any, get_args

import click
from pydantic.fields import FieldInfo

from metaft.cli.completion import of_setting, words
from metaft.cli.defaults import default_text, help_text, settled
from metaft.cli.folders import OutFolder
from metaft.plugins import is_import_path, named_part
from metaft.settings.config import CommandSettings, RunConfig, section_of
from metaft.settings.family import is_flag
from metaft.settings.learner import FLAGS, LearnerSettings
from metaft.tables import META_TRAINED

F = Callable[..., Any]
LEARNER = "metaft.learner"
COMPUTED = ("objective_weight", "solver_iterations")
"""Options that are parts' own now: l2:weight=…, implicit:iterations=…."""


class SectionedCommand(click.Command):
    """A command whose help groups its options under the headings of the TOML file."""

    kind: type[CommandSettings] = RunConfig

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As click's; which learner is named is known before ``--help`` is answered."""
        named = [after for word, after in pairwise([*args, ""]) if word == "--learner"]
        named += [word.partition("=")[2] for word in args if word.startswith("--learner=")]
        ctx.meta[LEARNER] = named[-1] if named else ""
        return super().parse_args(ctx, args)

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """As click's; with a learner named, that learner's options alone."""
        named = ctx.meta.get(LEARNER, "")
        if named and not is_import_path(named_part(named, "learner").name):
            learner_help(named_part(named, "learner").name, ctx.command_path, formatter)
        else:
            super().format_help(ctx, formatter)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, those that are settings under their section."""
        groups: dict[str, list[tuple[str, str]]] = {"Options": []}
        groups |= {f"[{section}]": [] for section in self.kind.sections}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is not None:
                name = param.name or ""
                group = f"[{section_of(name, self.kind)}]" if name in self.kind.model_fields else "Options"
                groups[group].append(record)
        for group, records in groups.items():
            if records:
                with formatter.section(group):
                    formatter.write_dl(records)


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
    for title, rows in (
        (f"Options of {name} alone, joined by commas", own),
        ("Options of every such learner", general),
    ):
        if rows:
            with formatter.section(title):
                formatter.write_dl(rows)
    formatter.write_paragraph()
    formatter.write_text(f"–: the learner's own choice. Data, network and training: {program} --help")


def setting_options(
    *names: str, kind: type[CommandSettings] = RunConfig, defaults: Mapping[str, str] | None = None
) -> Callable[[F], F]:
    """Add options for settings.

    Args:
        names: which; all of them by default.
        kind: the command's settings.
        defaults: option → its description and what holds without it, where the command has its own.

    Returns:
        A decorator. Options that were not given arrive as None, the others as text for the settings to check.
    """

    def decorate(function: F) -> F:
        for name in reversed(() if names else kind.older):
            function = _older(name)(function)
        for name in reversed(names or list(kind.model_fields)):
            text = (defaults or {}).get(name) or help_text(name, kind)
            function = _option(name, kind, text)(function)
        return function

    return decorate


def run_options(
    folder: str, resume: str = "to the same end", overwrite: str = "", configs: Sequence[str] = ()
) -> Callable[[F], F]:
    """Add the options of a command that makes a run directory.

    Args:
        folder: where it lies by default.
        resume: how a run goes on.
        overwrite: what is replaced beside the run.
        configs: settings that come with metaft, by name.

    Returns:
        A decorator; the command is given ``file``, ``out``, ``resume``, ``overwrite`` and ``quiet``.
    """
    shipped = f", or one that comes with metaft: {', '.join(configs)}" if configs else ""
    options = (
        click.option(
            "--config",
            "file",
            type=click.Path(dir_okay=False),
            shell_complete=words(configs, files=True),
            help=f"TOML file{shipped}; options override it",
        ),
        click.option("--out", type=OutFolder(), help=f"run directory [default: {folder}]"),
        click.option("--resume", is_flag=True, help=f"go on with the run in --out, {resume}"),
        click.option("--overwrite", is_flag=True, help=f"replace the run in --out{overwrite}"),
        click.option("--quiet", is_flag=True, help="no progress, no table"),
    )

    def decorate(function: F) -> F:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


def _option(name: str, kind: type[CommandSettings], text: str) -> Callable[[F], F]:
    flag, field = name.replace("_", "-"), kind.model_fields[name]
    if is_flag(field):
        return click.option(f"--{flag}/--no-{flag}", name, default=None, help=text)
    complete = of_setting(name, [word for word in _parts(field.annotation) if isinstance(word, str)], kind)
    return click.option(f"--{flag}", name, default=None, metavar=_metavar(field), help=text, shell_complete=complete)


def _older(name: str) -> Callable[[F], F]:
    """A setting that stands in another now: taken, and not shown."""
    flag = name.replace("_", "-")
    if name in FLAGS:
        return click.option(f"--{flag}/--no-{flag}", name, default=None, hidden=True)
    return click.option(f"--{flag}", name, default=None, hidden=True)


def _metavar(field: FieldInfo) -> str:
    kinds = [kind for kind in _parts(field.annotation) if kind is not type(None)]
    words = {float: "NUMBER", int: "COUNT", str: "NAME"}
    return "|".join(kind if isinstance(kind, str) else words[kind] for kind in kinds)


def _parts(annotation: Any) -> list[Any]:
    """What an annotation allows: types, and the strings of its literals."""
    inner = get_args(annotation)
    return [part for entry in inner for part in _parts(entry)] if inner else [annotation]
