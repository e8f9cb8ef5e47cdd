"""Data sets of texts, and their words as numbers."""
