"""What is logged meanwhile."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def heard(name: str, alone: bool = False) -> Iterator[list[str]]:
    """Keep what is logged inside the block.

    Args:
        name: of the logger.
        alone: keep it from whoever else listens.

    Yields:
        The messages so far.
    """
    said: list[str] = []
    handler, log = logging.Handler(), logging.getLogger(name)
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    log.addHandler(handler)
    log.propagate = not alone
    try:
        yield said
    finally:
        log.removeHandler(handler)
        log.propagate = True
