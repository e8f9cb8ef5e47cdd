"""Prompts: patterns, the words that stand for classes, and what a causal language model makes of them."""

from metaft.prompting.answer_words import AnswerWords
from metaft.prompting.log_probability import log_probabilities
from metaft.prompting.pattern import Pattern
from metaft.prompting.pattern_files import Patterns, of_dataset, read
from metaft.prompting.prompt import Prompter
from metaft.prompting.text_lookup import TextLookup

__all__ = ["AnswerWords", "Pattern", "Patterns", "Prompter", "TextLookup", "log_probabilities", "of_dataset", "read"]
