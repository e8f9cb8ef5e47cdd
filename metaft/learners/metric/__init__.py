"""Learners that compare: features learned end to end through episodes, no inner gradient."""

from __future__ import annotations

from metaft.learners.metric.episodic import EpisodicLearner
from metaft.learners.metric.full_context import matching_fce
from metaft.learners.metric.in_context_transformer import in_context_transformer
from metaft.learners.metric.matching import matching
from metaft.learners.metric.protonet import protonet
from metaft.learners.metric.r2d2 import r2d2

__all__ = ["EpisodicLearner", "in_context_transformer", "matching", "matching_fce", "protonet", "r2d2"]
