"""Who teaches a meta-learner: the settings."""

from __future__ import annotations

from pydantic import Field

from metaft.settings.family import Settings


class QueryTeacherSettings(Settings):
    """A teacher whose answers to the queries are learned from as well as their labels."""

    teacher: str | None = None
    """a run directory, or a learner as metaft compare names it; {seed} is filled in [none]"""
    temperature: float = Field(4.0, gt=0, le=1e6)
    """softens the answers of teacher and student"""
    label_weight: float = Field(0.5, ge=0, le=1)
    """share of the labels in the query loss, beside a teacher"""
