"""The rows of the speed table, and how they are timed."""
