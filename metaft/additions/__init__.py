"""Additions: parameters that are put into a network, whose own parameters keep their names."""

from metaft.additions.addition import Addition, attach

__all__ = ["Addition", "attach"]
