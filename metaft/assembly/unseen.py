"""No learner is scored on classes that it, or its choice, has seen."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from metaft.assembly.tasks import SMALLEST, build_family
from metaft.data import catalog
from metaft.data.splits import ALL
from metaft.errors import MetaftError
from metaft.plugins import is_import_path
from metaft.runs.directory import read_record
from metaft.runs.reading import entries
from metaft.settings.config import RunConfig, validated
from metaft.settings.defaults import TEXTS
from metaft.settings.family import OWN
from metaft.tasks.family import TaskFamily

MOST_NAMED = 3


def require_unseen(run: str | Path, config: RunConfig, tests: TaskFamily) -> None:
    """Refuse a run that was trained, or whose weights were chosen, on classes that it is to be tested on.

    Classes are told by name, rotations of a character counting as that character; data sets of other names are taken
    to share no class.

    Args:
        run: the run directory.
        config: how the test tasks are drawn.
        tests: the test tasks.

    Raises:
        MetaftError: naming the classes.
    """
    trained, told = entries(read_record(run), "settings", "family"), tests.describe()
    if trained.get("dataset") != config.dataset:
        return
    if told.get("split") == ALL and "digest" in told and trained.get("digest") == told["digest"]:
        raise MetaftError(
            f"{run} was trained on groups of this table, and --split all has them in it; leave --split out to test it "
            "on groups that it has not seen"
        )
    tested = _names(tests)
    texts = config.dataset in TEXTS
    options = catalog.dataset(config.dataset).options if texts else ("scheme", "split_seed", "min_examples")
    division: dict[str, Any] = {name: trained[name] for name in options if name in trained}
    if config.folds is not None or trained.get("folds") is not None:
        division |= {name: trained.get(name) for name in ("folds", "fold")}
    now = {name: told.get(name) if texts else getattr(config, name) for name in division}
    alike = told.get("split") != ALL and now == division
    if not alike and (trained.get("shared_classes") or told.get("shared_classes")):
        raise MetaftError(
            f"{run} was trained on examples of {config.dataset}{_told(division)}, and these test examples may be among "
            "them; test it on examples divided likewise, or on another data set"
        )
    if not tested or (alike and trained.get("split") == "train" and not is_import_path(config.dataset)):
        return  # no classes, or a reader of our own, which keeps the splits of one division apart
    named = {"rotations": trained.get("rotations"), "image_size": trained.get("size"), "data_root": config.data_root}
    # Only names of classes are wanted: let no class be too small.
    own = {name: value for name, value in division.items() if name not in RunConfig.model_fields}
    asked = ",".join(f"{name}={value}" for name, value in own.items() if value is not None)
    rest = {name: value for name, value in division.items() if name not in own}
    settings: dict[str, Any] = {"dataset": config.dataset, OWN: asked or None, **named, **rest, **SMALLEST}
    before = validated(RunConfig, {name: value for name, value in settings.items() if value is not None})
    for split in dict.fromkeys((str(trained.get("split", "train")), "val")):
        if shared := sorted(tested & _classes(before, split)):
            some = ", ".join(shared[:MOST_NAMED]) + (", …" if len(shared) > MOST_NAMED else "")
            use = "chosen" if split == "val" else "trained"
            raise MetaftError(
                f"{run} was {use} on {len(shared)} of the test classes ({some}): it used the {split} classes of "
                f"{config.dataset}{_told(division)}; test it on classes divided likewise, or on another data set"
            )


def _told(division: Mapping[str, object]) -> str:
    return "".join(f", {name} {value}" for name, value in division.items() if value is not None)


@lru_cache(maxsize=16)
def _classes(config: RunConfig, split: str) -> set[str]:
    return _names(build_family(config, split, config.seed, config.train_ways))


def _names(family: TaskFamily) -> set[str]:
    """The family's classes, without rotations; empty for a family that has none."""
    return {re.sub(r"/rot\d+$", "", name) for name in getattr(getattr(family, "images", None), "names", ())}
