"""Columns that only number or name a table's rows, as pandas, R and polars write them."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from metaft.errors import MetaftError

NAMELESS = re.compile(r"unnamed:? ?\d+(_level_\d+)?(\.\d+)*|\.\.\.\d+|__index_level_\d+__", re.IGNORECASE)
"""What readers call a column that has no name: pandas, R's readr, pyarrow."""
NUMBERING = frozenset(
    {
        *("index", "idx", "row", "row_index", "row_nr", "row_number", "row_num", "row_id", "rowid", "rownum", "rn"),
        *("rownames", "rowname", "row.names", "row_names", "row names", "nr", "no", "no.", "num", "number", "#", "id"),
        *("level_0", "level_1", "_c0", "v1", "column1", "column_1", "obs", "seq"),
    }
)
"""Names of columns that may number the rows and may be anything else, in lower case."""
OF_R = frozenset({"X", "X.1", "X.2", "X1"})
"""What R calls a column without a name that it reads and writes again."""
_WHOLE = re.compile(r"[+-]?[0-9]{1,400}(\.0*)?")


def left_out(
    path: object, header: Sequence[str], rows: Sequence[Sequence[str]], named: Collection[int]
) -> tuple[set[int], list[str]]:
    """Which columns only number or name the rows; what to say of each, and of one that may and is taken.

    A column without a name is left out if it is empty, whole numbers or text. One at the front that is called as such
    columns often are is left out if it counts the rows, unless no feature would remain.

    Args:
        path: the file, for messages.
        header: names of its columns, empty where there is none.
        rows: their cells.
        named: places of columns that were named by the user.

    Returns:
        Places of the columns to leave out; and lines to say once the table is read.

    Raises:
        MetaftError: if a column has no name and holds measurements.
    """
    free = [i for i in range(len(header)) if i not in named]
    # Where no column has a name of its own, that they have none says nothing.
    nameless = [i for i in free if not header[i] or NAMELESS.fullmatch(header[i])]
    if len(nameless) == len(free):
        nameless = [i for i in nameless if not header[i]]
    gone, lines = set[int](), list[str]()
    for i in nameless:
        cells = [row[i].strip() for row in rows]
        shown = next((cell for cell in cells if _is_number(cell) and not _WHOLE.fullmatch(cell)), None)
        if shown is not None:
            raise MetaftError(
                f"{path}: column {i + 1} has no name{header[i] and f' of its own ({header[i]!r})'} and numbers in it "
                f"that count no rows, such as {shown}; name it in the header, or name the features with --features"
            )
        gone.add(i)
        what = "has no name of its own and only numbers or names the rows" if any(cells) else "is empty"
        lines.append(_told(path, header, i, what))
    for i in free:
        if i in gone or not _count_rows([row[i] for row in rows]):
            continue
        may_number = header[i].lower() in NUMBERING or header[i] in OF_R
        if may_number and gone.issuperset(free[: free.index(i)]) and len(gone) + 1 < len(free):
            gone.add(i)
            lines.append(_told(path, header, i, "only numbers the rows"))
        else:
            lines.append(
                f"{path}: column {header[i]!r} counts the rows and is taken as a feature; if it is none, name the "
                "others with --features"
            )
    return gone, lines


def _told(path: object, header: Sequence[str], place: int, what: str) -> str:
    called = f"column {header[place]!r}" if header[place] else f"column {place + 1}"
    way = "name it with --features" if header[place] else "give it a name in the header"
    return f"{path}: {called} {what}: left out; if it is a feature, {way}"


def _count_rows(cells: Sequence[str]) -> bool:
    """Whether cells are the numbers of the rows: each from 0, or from 1, once, in whatever order."""
    if len(cells) < 2 or not all(_WHOLE.fullmatch(cell.strip()) for cell in cells):
        return False
    numbers = sorted(int(cell.split(".")[0]) for cell in cells)
    return numbers[0] in (0, 1) and numbers == list(range(numbers[0], numbers[0] + len(numbers)))


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
