"""Tuning by preferences: makes results/preferences*.{md,json,png}."""
