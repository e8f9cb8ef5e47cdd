"""The former place of :mod:`metaft.files`."""

from metaft.files import write_atomically

__all__ = ["write_atomically"]
