"""Records as a data frame, where pandas is installed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from metaft.errors import MetaftError


def frame(records: Sequence[Mapping[str, Any]]) -> Any:
    """A data frame of records.

    Args:
        records: of the same names.

    Returns:
        A ``pandas.DataFrame``, a row a record.

    Raises:
        MetaftError: if pandas is not installed.
    """
    try:
        import pandas  # an option: nothing else here needs it
    except ImportError:
        raise MetaftError(
            "to_frame needs pandas: pip install pandas; records() gives the same rows as plain dictionaries"
        ) from None
    return pandas.DataFrame.from_records(list(records))
