"""Which callbacks are asked for, by name."""

from __future__ import annotations

from metaft.parts import Asked
from metaft.plugins import is_import_path, named_part
from metaft.tables import CALLBACKS


def asked_callbacks(text: str | None) -> list[Asked]:
    """Read and check which callbacks are asked for; none is made, and nothing of the user's own imported.

    Args:
        text: names of the table or import paths ``module:NAME``, each with its options, joined by ``+``; None for none.

    Returns:
        One for each, in order.

    Raises:
        MetaftError: if a name or an option is unknown.
    """
    found = [named_part(piece.strip(), CALLBACKS.kind) for piece in str(text).split("+")] if text else []
    for one in found:
        if not is_import_path(one.name):
            CALLBACKS.asked(str(one))
    return found
