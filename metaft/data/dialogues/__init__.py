"""Dialogues to tune language models by: instructions, preferences, prompts."""
