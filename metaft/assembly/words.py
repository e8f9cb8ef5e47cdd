"""A network reads the words that it was trained on: numbers of another tokenizer mean other words."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from metaft.data.texts import tokenizer
from metaft.data.texts.labelled_texts import LabelledTokens
from metaft.errors import MetaftError
from metaft.learners.spec import RANDOM, Spec
from metaft.plugins import FOREIGN, foreign, is_network
from metaft.runs.directory import read_record
from metaft.runs.reading import entries
from metaft.runs.recorded import recorded_config
from metaft.settings.defaults import TEXTS
from metaft.settings.family import with_dataset
from metaft.settings.learner import ModelSettings
from metaft.tasks.family import TaskFamily


def tokens_of(family: TaskFamily) -> LabelledTokens | None:
    """The texts that tasks are drawn from; None where they are no texts."""
    examples = getattr(family, "images", None)
    return examples if isinstance(examples, LabelledTokens) else None


def require_words_of(run: str | Path, tests: TaskFamily) -> None:
    """Refuse a run that was trained on other words than those of the test tasks, or on no words.

    Args:
        run: the run directory.
        tests: the test tasks.

    Raises:
        MetaftError: saying which.
    """
    trained, told = entries(read_record(run), "settings", "family"), tests.describe()
    before, now = trained.get("words"), told.get("words")
    if before == now:
        return
    if before is None or now is None:
        was, here = ("no texts" if words is None else "texts" for words in (before, now))
        raise MetaftError(f"{run} was trained on {was}, and these tasks have {here}; test it on tasks of its kind")
    raise MetaftError(
        f"{run} reads words by the tokenizer {trained.get('tokenizer')} of its training classes, and these tasks have "
        f"another, {told.get('tokenizer')}: the same numbers are other words; take the scheme and tokenizer of the run"
    )


def require_own_words(model: str, path: str, family: TaskFamily) -> None:
    """Refuse tasks that are not in the words of a pretrained model.

    Args:
        model: as it was asked for.
        path: its name or folder.
        family: the tasks.

    Raises:
        MetaftError: if they are of another tokenizer, or no texts.
    """
    tokens = tokens_of(family)
    if tokens is None:
        raise MetaftError(f"model {model!r} reads texts, and these tasks have none; use a data set such as intents")
    if tokens.words != tokenizer.asked(f"hf:{path}", ()).digest:
        raise MetaftError(
            f"model {model!r} reads words by its own tokenizer, and these tasks have another: the same numbers are "
            f"other words; use --tokenizer hf:{path}"
        )


def in_own_words(settings: Mapping[str, Any], specs: Iterable[Spec]) -> dict[str, Any]:
    """Settings of tasks in the words of the pretrained model that learners stand on, the first's, if nobody says which.

    Args:
        settings: setting → value.
        specs: the learners; those without a network, or with a random one, read any words.

    Returns:
        The settings, with the model's tokenizer if the data set has texts, none is given, and no learner is a run,
        which reads its own words only.
    """
    apart = with_dataset(settings)
    if apart.get("dataset") not in TEXTS or apart.get("tokenizer") is not None:
        return dict(settings)
    runs = [spec.target if spec.kind == "run" else spec.options.get("backbone", RANDOM) for spec in specs]
    asked = [others.name if (others := foreign(run)) else None for run in runs if run != RANDOM]
    name = asked[0] if asked and None not in asked else None
    return {**settings, **({} if name is None else {"tokenizer": f"{FOREIGN}{name}"})}


def networks_of(specs: Iterable[Spec], config: ModelSettings) -> list[str]:
    """The networks that learners stand on, by name.

    Args:
        specs: the learners, seeds filled in.
        config: the network of a random start.

    Returns:
        One a learner that has one; what is wrong with a learner is said where it is made.
    """
    found = []
    for spec in specs:
        where = spec.target if spec.kind == "run" else spec.options.get("backbone")
        if where is None:
            continue
        if where == RANDOM or is_network(where):
            found.append(config.model if where == RANDOM else where)
            continue
        with contextlib.suppress(MetaftError):
            own = recorded_config(where)
            found += [own.model] if isinstance(own, ModelSettings) else []
    return found
