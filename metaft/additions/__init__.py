"""Additions: parameters that are put into a network, whose own parameters keep their names."""

from metaft.additions.addition import Addition, Piece
from metaft.additions.attach import attach
from metaft.additions.selection import freeze_base, merged, only, without

__all__ = ["Addition", "Piece", "attach", "freeze_base", "merged", "only", "without"]
