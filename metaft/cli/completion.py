"""What the shell offers on Tab: names of parts and data sets, words of a choice, shipped settings, files.

Names cost no import of torch. Options of a part are not offered: for them the part would have to be imported.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

import click
from click.shell_completion import CompletionItem

from metaft.cli.defaults import known_datasets
from metaft.settings.config import CommandSettings
from metaft.settings.pretrain import CLASSES, PretrainConfig
from metaft.settings.tune import TuneConfig
from metaft.tables import (
    ADDITIONS,
    CALLBACKS,
    ESTIMATORS,
    META_TRAINED,
    MODELS,
    OBJECTIVES,
    OUTER,
    RULES,
    TUNING,
    WORD_OBJECTIVES,
)

Complete = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]
OF_TABLES = {
    "addition": ADDITIONS,
    "learner": META_TRAINED,
    "rule": RULES,
    "objective": OBJECTIVES,
    "estimator": ESTIMATORS,
    "outer": OUTER,
    "callbacks": CALLBACKS,
    "model": MODELS,
}
"""Setting → the table its names stand in."""


def words(known: Collection[str] | Callable[[], Collection[str]], files: bool = False) -> Complete:
    """Offer words.

    Args:
        known: of which to offer those that begin as what was typed; read, or called, when they are asked for.
        files: whether the shell may offer files beside them.

    Returns:
        What click takes as ``shell_complete``.
    """

    def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        found = [
            CompletionItem(word) for word in (known() if callable(known) else known) if word.startswith(incomplete)
        ]
        return [*found, CompletionItem(incomplete, type="file")] if files else found

    return complete


def of_setting(name: str, choices: Collection[str], kind: type[CommandSettings]) -> Complete | None:
    """What is offered for a setting.

    Args:
        name: of the setting.
        choices: the words it is one of, if it is a choice.
        kind: the command's settings.

    Returns:
        As `words`; None where any text will do.
    """
    if name == "objective" and kind is PretrainConfig:
        return words(lambda: (CLASSES, *WORD_OBJECTIVES))
    if name == "objective" and kind is TuneConfig:
        return words(TUNING)
    known = known_datasets(kind) if name == "dataset" else OF_TABLES.get(name, choices)
    return words(known) if known else None
