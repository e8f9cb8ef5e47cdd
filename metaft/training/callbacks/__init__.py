"""Callbacks: what is told of a run as it goes."""

from metaft.training.callbacks.callback import RunView, Stop

__all__ = ["RunView", "Stop"]
