"""Triggers: words of a prompt that are searched by the gradient of a loss (AutoPrompt, Shin et al. 2020)."""

from metaft.prompting.trigger.questions import Questions, with_trigger
from metaft.prompting.trigger.search import Trigger, search

__all__ = ["Questions", "Trigger", "search", "with_trigger"]
