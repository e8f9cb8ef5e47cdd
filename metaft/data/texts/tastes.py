"""Texts to be compared in pairs by users of different tastes: those of another data set, see `metaft.tasks.tastes`."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

from metaft import parts
from metaft.data.splits import check_split
from metaft.data.texts.labelled_texts import LabelledTexts
from metaft.errors import MetaftError, nearest

USERS = ("classes", "mix")


def load(split: str, *, root: str | Path | None = None, of: str = "intents", users: str = "classes") -> LabelledTexts:
    """Load the texts of one split.

    Args:
        split: "train", "val" or "test".
        root: where files are looked for first.
        of: the data set that has them, such as "intents", "newsgroups20" or "sst2".
        users: "classes": a user prefers one class to another; "mix": a user weighs what can be counted of a text.

    Returns:
        The texts.

    Raises:
        MetaftError: for an unknown split, data set or kind of users, or whatever the data set refuses.
    """
    from metaft.data.texts.table import TEXTS  # which has a row for this file

    check_split(split)
    if users not in USERS:
        raise MetaftError(f"tastes: unknown users {users!r}{nearest(users, USERS)}; known: {', '.join(USERS)}")
    known = [name for name, row in TEXTS.items() if not row.tasks and not row.division]
    if of not in known:
        raise MetaftError(f"tastes: no texts of {of!r}{nearest(of, known)}; known: {', '.join(known)}")
    read: Any = parts.load(TEXTS[of].load)
    texts: LabelledTexts = read(split, **({"root": root} if "root" in inspect.signature(read).parameters else {}))
    if users == "classes" and texts.shared:
        raise MetaftError(
            f"tastes: {of} has the same classes in all splits, so that no user who prefers one class to another would "
            f"be new in the test; use users=mix, or texts whose classes are divided, such as of=intents"
        )
    return texts
