"""Tuning by instructions and preferences."""
