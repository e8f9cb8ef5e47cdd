"""Which tasks are drawn: its settings."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.fields import FieldInfo

from metaft.errors import MetaftError, nearest
from metaft.plugins import named_part
from metaft.seeds import DivisionSeed
from metaft.settings.defaults import REGRESSIONS, TEXTS
from metaft.settings.once import require_once

RANGES = ("ways", "shots")
RANGE = r"^\s*(\d+)\s*-\s*(\d+)\s*$"
"""Settings that may be a range, and how it is written."""


def is_flag(field: FieldInfo) -> bool:
    """Whether a setting is yes or no, or left to the method."""
    return bool in (field.annotation, *get_args(field.annotation))


class Settings(BaseModel):
    """What all sections share: no unknown keys, no NaN, no infinity, no change after validation.

    What stands below a field is its help; what that says in brackets at its end stands for a default of None.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True)
    older: ClassVar[tuple[str, ...]] = ()
    """Settings of older versions that are still taken, and stand in others now."""


def with_dataset(given: Mapping[str, Any]) -> dict[str, Any]:
    """Settings in which the options of a data set stand beside its name.

    Args:
        given: setting → value; ``dataset`` may have options, as in ``omniglot:scheme=vinyals,size=84``; those of the
            user's own begin with their place, as in ``folder:PATH,size=84``.

    Returns:
        The same apart; options that texts alone have are joined under ``dataset_options``.

    Raises:
        MetaftError: if an option is unknown, or given in both ways.
    """
    asked = named_part(_with_place(str(given.get("dataset") or "glyphs")), "data set")
    if not asked.options:
        return dict(given)
    moved, own = dict[str, str](), dict[str, str]()
    for name, value in asked.options.items():
        setting = ALIASES.get(name, name)
        if setting in FamilySettings.model_fields and setting not in ("dataset", OWN):
            moved[setting] = value
        elif asked.name in TEXTS:  # checked where the data set is read
            own[name] = value
        else:
            hint = nearest(name, FamilySettings.model_fields)
            raise MetaftError(f"data set {asked.name!r} has no option {name!r}{hint}")
    if own:
        moved[OWN] = ",".join(f"{name}={value}" for name, value in own.items())
    require_once(given, "dataset", moved)
    return {**given, "dataset": asked.name, **moved}


def _with_place(text: str) -> str:
    """``folder:PATH`` in full, ``folder:root=PATH``."""
    name, _, rest = text.partition(":")
    return f"{name}:root={rest}" if name in PLACED and rest and "=" not in rest.partition(",")[0] else text


PLACED = ("folder", "table", "texts")
"""Data sets of the user's own: their place may stand behind the name."""
OWN = "dataset_options"
"""The setting that holds options which a data set of texts alone has."""
ALIASES = {"size": "image_size", "root": "data_root"}
"""What options of a data set are called among the settings, where it is something else."""


class FamilySettings(Settings):
    """Which tasks are drawn."""

    dataset: str = "glyphs"
    """glyphs, omniglot, sinusoid, intents, … (see metaft data), folder:PATH, table:PATH, texts:PATH, or your own
    module:NAME; with options: omniglot:scheme=vinyals"""
    dataset_options: str | None = None
    """options that a data set of texts alone has, as in form=phrases; or behind its name, sst2:form=phrases [none]"""
    scheme: str = "alphabets"
    """how classes are split into train, val and test"""
    ways: int = Field(5, ge=2, le=100_000)
    """classes in a task; 3-7 draws it task by task"""
    shots: int = Field(1, ge=1, le=100_000)
    """support examples a class (sinusoid: points); 1-5 draws it task by task"""
    fewest_ways: int | None = Field(None, ge=2, le=100_000)
    """the same as a range of ways up to --ways"""
    fewest_shots: int | None = Field(None, ge=1, le=100_000)
    """the same as a range of shots up to --shots"""
    queries: int = Field(15, ge=1, le=100_000)
    """query examples a class (sinusoid: points)"""
    data_root: str | None = None
    """folder with the data sets; else METAFT_DATA, else ./data (folder, table, texts: itself)"""
    image_size: int = Field(28, ge=8, le=512)
    """height and width images are scaled to, in pixels"""
    rotations: bool = True
    """90° rotations as further classes"""
    within: str | None = None
    """texts: what all ways of a task have in common, such as domain for intents [all classes together]"""
    tokenizer: str | None = None
    """texts: wordpiece:size=4096, trained on the training classes; hf:minilm; or a tokenizer.json [wordpiece]"""
    max_words: int | None = Field(None, ge=4, le=100_000)
    """texts: how many words one may have; what is longer is cut [any number]"""
    colours: Literal["grey", "rgb"] | None = None
    """turn images grey, or into colour [as they are]"""
    split_seed: DivisionSeed = 0
    """how classes (folder, texts) or groups (table) are divided"""
    min_examples: int | None = Field(None, ge=1, le=10**9)
    """leave out classes (folder, texts; trec, fewer than 16 anyway) or groups (table) of fewer examples [none]"""
    folds: int | None = Field(None, ge=3, le=1000)
    """folder: divide the classes into so many groups by split_seed, of which --fold is the test's, the next one the
    validation's, and the rest are for training [64 : 16 : 20]"""
    fold: int = Field(0, ge=0, le=999)
    """which group is the test's, from 0"""
    group: str | None = None
    """table: the column that tells tasks apart"""
    target: str | None = None
    """table: the columns to predict, joined by commas"""
    features: str | None = None
    """table: the columns to predict from [all others]"""
    split_column: str | None = None
    """table, texts: the column that says train, val or test"""
    standardise: bool = True
    """table: mean 0 and deviation 1 over training groups"""

    @model_validator(mode="before")
    @classmethod
    def _ranges(cls, given: dict[str, Any]) -> dict[str, Any]:
        """``ways = "3-7"`` is the most and the fewest in one; so is a data set with options."""
        given = with_dataset(given)
        for name in RANGES:
            if found := re.fullmatch(RANGE, str(given.get(name))):
                given = given | {f"fewest_{name}": found[1], name: found[2]}
        return given

    @model_validator(mode="after")
    def _rising(self) -> Self:
        for name in RANGES:
            fewest, most = getattr(self, f"fewest_{name}"), getattr(self, name)
            if fewest is not None and fewest > most:
                raise ValueError(f"{name} = {fewest}-{most}: a range should rise")
            if fewest is not None and self.dataset in REGRESSIONS:
                raise ValueError(f"{name} = {fewest}-{most}: a regression ({self.dataset}) takes one number, no range")
        return self
