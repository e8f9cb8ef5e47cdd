"""Trials of runs and readers: killed, damaged, starved, spoiled."""
