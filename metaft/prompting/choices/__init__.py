"""Choices: which examples of a support set are shown to the model."""

from metaft.prompting.choices.choice import Candidates, Choice, Chooser, subsets

__all__ = ["Candidates", "Choice", "Chooser", "subsets"]
